# gopipework watch on every client of Nomad, for the tasks of its docker driver: a task asks by
# labels in its config, such as
#
#   labels = { "gopipework.eth1" = "brlan 192.168.1.2/24" }
#
# The clients have to allow what it needs:
#
#   plugin "docker" {
#     config {
#       allow_caps = ["net_admin", "sys_admin", "net_raw", "net_bind_service"]
#       volumes { enabled = true }
#     }
#   }
#
#   nomad job run gopipework.nomad.hcl
job "gopipework" {
  type = "system"

  group "watch" {
    task "watch" {
      driver = "docker"

      config {
        image        = "gopipework:latest" # the tag that docker load prints
        entrypoint   = ["/gopipework"]
        args         = ["watch", "--labels"]
        network_mode = "host"

        # Not privileged: containers are found by the namespaces in /run/docker/netns.
        cap_drop = ["all"]
        cap_add  = ["net_admin", "sys_admin", "net_raw", "net_bind_service"]

        volumes = ["local/policy.yaml:/etc/gopipework/policy.yaml:ro"]

        # Docker's socket, the namespaces, also those to come, and gopipework's own notes.
        mount {
          type   = "bind"
          source = "/run"
          target = "/run"

          bind_options {
            propagation = "rslave"
          }
        }

        # A container's own /proc/sys is read-only, and IPv6 has to be set up there.
        mount {
          type   = "bind"
          source = "/proc/sys/net"
          target = "/host/proc/sys/net"
        }
      }

      # Nomad calls a container TASK-ALLOCATION.
      template {
        destination = "local/policy.yaml"
        perms       = "644"
        data        = <<-YAML
          allow:
            - {guests: "web-*", to: brlan, addresses: 192.168.1.0/24}
        YAML
      }

      resources {
        cpu    = 50
        memory = 64
      }
    }
  }
}
