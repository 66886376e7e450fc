// Package intent holds what services of Docker Compose ask for: those with gopipework as
// their provider. Compose runs the provider before it starts any container, so nothing can
// be attached then. The lines wait in a topology file for each service, which "up" writes
// and "down" deletes, and watch makes them so.
package intent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/gopipework/gopipework/internal/fault"
	"github.com/gopipework/gopipework/internal/kept"
	"github.com/gopipework/gopipework/internal/plainname"
	"github.com/gopipework/gopipework/internal/rundir"
	"github.com/gopipework/gopipework/internal/shell"
	"github.com/gopipework/gopipework/internal/spec"
	"github.com/gopipework/gopipework/internal/topology"
)

// Dir is where the files are.
const Dir = kept.Dir + "/compose"

const ending = ".yaml"

// Service is a service of a project of Compose that asks for attachments.
type Service struct{ Project, Name string }

// Parse checks the names that Compose has given.
func Parse(project, service string) (Service, error) {
	s := Service{project, service}
	switch {
	case !isProject(project):
		return s, fault.BadWord("read project", project, "it is no name of a project of Compose").
			WithHint("lower-case letters, digits, '-' and '_'")
	case !plainname.Is(service):
		return s, fault.BadWord("read service", service, "it is no name of a service of Compose").
			WithHint("letters, digits, '.', '-' and '_'; it begins with none of the first two")
	}
	if _, err := spec.OriginOfService(project, service); err != nil {
		return s, fault.BadWord("read service", project+"/"+service, "the two names are longer than %d bytes together", spec.MaxOriginName-1).
			WithHint("shorten one of them; COMPOSE_PROJECT_NAME and the key name: set that of the project")
	}
	return s, nil
}

// isProject reports whether Compose would accept a name for a project. It has no dot, so
// that in the name of a file the first dot ends it.
func isProject(name string) bool { return plainname.Is(name) && !strings.Contains(name, ".") }

// Origin is the origin of what the service asks for.
func (s Service) Origin() spec.Origin {
	o, _ := spec.OriginOfService(s.Project, s.Name) // Parse has checked it
	return o
}

// file is what the service's file is called.
func (s Service) file() string { return s.Project + "." + s.Name + ending }

// serviceOf is the service whose file is called that.
func serviceOf(file string) (Service, error) {
	project, service, _ := strings.Cut(strings.TrimSuffix(file, ending), ".")
	return Parse(project, service)
}

// qualify returns the guest word that a word in a line of the project means. In a Compose
// file a bare name is that of a service, and so it is here; what is no service of the
// project is named with what runs it.
func (s Service) qualify(word string) string {
	if strings.HasPrefix(word, "/") || strings.Contains(word, ":") {
		return word
	}
	return "compose:" + s.Project + "/" + word
}

// Line reads a line of a provider's options. It returns the words, with the guest named for
// good, and that guest.
func (s Service) Line(g topology.Grammar, line string) (words []string, guest string, err error) {
	if words, err = shell.Words(line); err != nil {
		return nil, "", err
	}
	if len(words) > 0 && words[0] == "gopipework" {
		return nil, "", fault.BadWord("read word", words[0], "a line is what follows gopipework").WithHint("%s", shell.Line(words[1:]))
	}
	asked, err := g.Attach(words)
	if err != nil {
		return nil, "", err
	}
	guest = s.qualify(asked.Guest)
	for i, w := range words { // the same word may also stand for something else
		if w != asked.Guest {
			continue
		}
		whole := slices.Clone(words)
		whole[i] = guest
		if again, err := g.Attach(whole); err == nil && again.Guest == guest {
			return whole, guest, nil
		}
	}
	return nil, "", fault.BadWord("read line", line, "its guest, %q, is no word of its own", asked.Guest)
}

// text is the file for lines.
func (s Service) text(lines [][]string) []byte {
	d := topology.Draft{Comments: []string{
		fmt.Sprintf("What service %s of project %s of Docker Compose asks for.", s.Name, s.Project),
		`"gopipework compose up" writes this file, and "down" deletes it.`,
	}}
	for _, words := range lines {
		d.Entries = append(d.Entries, topology.DraftEntry{Words: words})
	}
	return d.Text()
}

// Record writes down what a service asks for, in place of what it asked for before: wholly
// or not at all, also if the power fails. It reports whether that was something else. Lines
// that contradict each other, or those of another service of the project, are refused.
func Record(ctx context.Context, g topology.Grammar, s Service, lines [][]string) (changed bool, err error) {
	text := s.text(lines)
	f, err := topology.Parse(Dir+"/"+s.file(), text, g)
	if err != nil {
		return false, s.contradiction(err)
	}
	err = inside(ctx, true, func(d *rundir.Dir) error {
		if err := s.refuseTaken(d, g, f); err != nil {
			return err
		}
		before, err := d.ReadText(s.file(), topology.MaxFile)
		if err == nil && string(before) == string(text) {
			return nil
		}
		changed = true
		return d.WriteDurable(s.file(), text)
	})
	return changed && err == nil, s.explain("record", err)
}

// contradiction returns the error for lines that make no file.
func (s Service) contradiction(err error) error {
	var p *topology.Problems
	if !errors.As(err, &p) {
		return err
	}
	return fault.New(fault.Conflict, "record lines of", s.Project+"/"+s.Name, "%w", p.List[0].Err).WithHint("%s", p.List[0].Hint())
}

// refuseTaken refuses lines for an interface that another service of the project has lines
// for: one that was renamed, and of which Compose no longer knows, asks until it is dropped.
func (s Service) refuseTaken(d *rundir.Dir, g topology.Grammar, f topology.File) error {
	names, err := d.Names(ending)
	if err != nil {
		return err
	}
	for _, name := range names {
		other, err := serviceOf(name)
		if err != nil || other == s || other.Project != s.Project {
			continue
		}
		theirs, err := other.read(d, g)
		if err != nil {
			continue // watch says so
		}
		for _, e := range f.Entries {
			if len(kept.Of(theirs, kept.Guest{Word: e.Attach.Guest}, kept.IfName(e))) > 0 {
				return fault.New(fault.Conflict, "record line", shell.Line(e.Words), "service %s of this project asks for %s of %s", other.Name, kept.IfName(e), e.Attach.Guest).
					WithHint("name another interface with -i; if there is no such service any more: gopipework compose --project-name %s down %s", other.Project, other.Name)
			}
		}
	}
	return nil
}

// Drop deletes what a service has asked for, or with "" for its name every service of the
// project. It returns the services that it has deleted the lines of.
func Drop(ctx context.Context, s Service) (dropped []Service, err error) {
	err = inside(ctx, false, func(d *rundir.Dir) error {
		names, err := d.Names(ending)
		for _, name := range names {
			one, wrong := serviceOf(name)
			if wrong != nil || one.Project != s.Project || s.Name != "" && one != s {
				continue
			}
			if err := d.Remove(name); err != nil {
				return err
			}
			dropped = append(dropped, one)
		}
		return errors.Join(err, d.Sync())
	})
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return dropped, s.explain("drop", err)
}

// explain returns the error for what became of the files.
func (s Service) explain(verb string, err error) error {
	var f *fault.Error
	switch {
	case err == nil, errors.As(err, &f):
		return err
	case errors.Is(err, fs.ErrPermission):
		return fault.New(fault.Permission, verb+" lines of", s.Project+"/"+s.Name, "%w", err).
			WithHint("what is attached to a host is root's to say: sudo docker compose")
	}
	return fault.New(fault.Failed, verb+" lines of", s.Project+"/"+s.Name, "%w", err)
}

// inside calls do with the directory, which only one process at a time has. Without make,
// one that is not there is an fs.ErrNotExist.
func inside(ctx context.Context, make bool, do func(*rundir.Dir) error) error {
	parent, err := kept.OpenDir(ctx, make)
	if err != nil {
		return err
	}
	defer parent.Close()
	d, err := rundir.Open(Dir, make)
	if err != nil {
		return err
	}
	defer d.Close()
	return do(d)
}

// Asked is what services ask for.
type Asked struct {
	Files map[Service]topology.File
	// Broken are the services whose files cannot be read.
	Broken []Service
}

// Read returns what all services ask for. With an error, not all of it could be read; if
// nothing is known about what there is, Files is nil.
func Read(g topology.Grammar) (all Asked, err error) {
	d, err := rundir.Open(Dir, false)
	if errors.Is(err, fs.ErrNotExist) {
		return Asked{Files: map[Service]topology.File{}}, nil
	}
	if err != nil {
		return all, err
	}
	defer d.Leave()
	names, err := d.Names(ending)
	if err != nil {
		return all, err
	}
	all.Files = map[Service]topology.File{}
	for _, name := range names {
		s, wrong := serviceOf(name)
		if wrong != nil {
			err = errors.Join(err, fault.New(fault.Invalid, "read", Dir+"/"+name, "it is not called as the file of a service").WithHint("remove it"))
			continue
		}
		f, wrong := s.read(d, g)
		switch {
		case errors.Is(wrong, fs.ErrNotExist): // dropped meanwhile
		case wrong != nil:
			all.Broken, err = append(all.Broken, s), errors.Join(err, wrong)
		default:
			all.Files[s] = f
		}
	}
	return all, err
}

// read reads what a service asks for.
func (s Service) read(d *rundir.Dir, g topology.Grammar) (topology.File, error) {
	text, err := d.ReadText(s.file(), topology.MaxFile)
	if err != nil {
		return topology.File{}, err
	}
	return topology.Parse(Dir+"/"+s.file(), text, g)
}
