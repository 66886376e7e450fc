// Command manifests reads examples as the programs do that they are for, as strictly: a key
// that is not known there is an error.
package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsimple"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/yaml"
	strict "sigs.k8s.io/yaml"
)

func main() {
	readers := map[string]func(path string) error{"compose": compose, "kubernetes": kubernetes, "nomad": nomad}
	if len(os.Args) != 3 || readers[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: manifests compose|kubernetes|nomad FILE")
		os.Exit(2)
	}
	if err := readers[os.Args[1]](os.Args[2]); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", os.Args[2], err)
		os.Exit(1)
	}
}

// compose reads a file as Docker Compose does.
func compose(path string) error {
	opts, err := cli.NewProjectOptions([]string{path}, cli.WithOsEnv)
	if err != nil {
		return err
	}
	_, err = opts.LoadProject(context.Background())
	return err
}

// kubernetes reads the objects of a file into the types of the API.
func kubernetes(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	kinds := map[string]any{"v1 Namespace": &corev1.Namespace{}, "v1 ConfigMap": &corev1.ConfigMap{}, "apps/v1 DaemonSet": &appsv1.DaemonSet{}}
	for documents := yaml.NewDocumentDecoder(io.NopCloser(bytes.NewReader(text))); ; {
		document := make([]byte, len(text))
		n, err := documents.Read(document)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		var of struct {
			APIVersion string `json:"apiVersion"`
			Kind       string `json:"kind"`
		}
		if err := strict.Unmarshal(document[:n], &of); err != nil {
			return err
		}
		object := kinds[of.APIVersion+" "+of.Kind]
		if object == nil {
			return fmt.Errorf("it has a %s of %s", of.Kind, of.APIVersion)
		}
		if err := strict.UnmarshalStrict(document[:n], object); err != nil {
			return fmt.Errorf("%s: %w", of.Kind, err)
		}
	}
}

// nomad reads a file as far as its structure goes; what is in the config of a driver is the
// driver's.
func nomad(path string) error {
	var file struct {
		Job []struct {
			Name  string `hcl:"name,label"`
			Type  string `hcl:"type"`
			Group []struct {
				Name string `hcl:"name,label"`
				Task []struct {
					Name   string `hcl:"name,label"`
					Driver string `hcl:"driver"`
					Config struct {
						Rest hcl.Body `hcl:",remain"`
					} `hcl:"config,block"`
					Template []struct {
						Destination string `hcl:"destination"`
						Perms       string `hcl:"perms,optional"`
						Data        string `hcl:"data"`
					} `hcl:"template,block"`
					Resources struct {
						CPU    int `hcl:"cpu"`
						Memory int `hcl:"memory"`
					} `hcl:"resources,block"`
				} `hcl:"task,block"`
			} `hcl:"group,block"`
		} `hcl:"job,block"`
	}
	return hclsimple.DecodeFile(path, nil, &file)
}
