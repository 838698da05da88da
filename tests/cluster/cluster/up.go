package cluster

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
)

type words []string

func (w *words) String() string         { return strings.Join(*w, ",") }
func (w *words) Set(value string) error { *w = append(*w, value); return nil }

// Up is the supervisor. It returns when the cluster is gone.
func Up() {
	var o Options
	flag.StringVar(&o.Dir, "dir", "", "the cluster's directory; nothing of it is anywhere else")
	flag.StringVar(&o.Name, "name", "dev", "name of the cluster, as AWS has it")
	flag.StringVar(&o.Region, "region", "ap-northeast-1", "AWS region")
	flag.StringVar(&o.Account, "account", "333333333333", "AWS account")
	flag.Var((*words)(&o.Forwards), "forward", "NODEPORT=HOST:PORT: an address of this machine, for pods; may be repeated")
	flag.Var((*words)(&o.Publishes), "publish", "PORT=ADDRESS:PORT: an address inside, on this machine's loopback; may be repeated")
	flag.Var((*words)(&o.With), "with", "an optional component to start: albc or kwok; may be repeated")
	untilClosed := flag.Bool("until-stdin-closes", false, "go when standard input ends, as it does when who started this dies")
	detach := flag.Bool("detach", false, "go on in the background once the cluster is ready")
	flag.Parse()
	if o.Dir == "" || flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	var err error
	if o.Dir, err = filepath.Abs(o.Dir); err == nil {
		if *detach {
			err = detached(o.Dir)
		} else {
			err = up(o, *untilClosed)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func up(o Options, untilClosed bool) error {
	if err := missing(); err != nil {
		return err
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	ctx, cancel := context.WithCancelCause(context.Background())
	go func() { cancel(fmt.Errorf("%v", <-signals)) }()
	if untilClosed {
		go func() {
			_, _ = io.Copy(io.Discard, os.Stdin)
			cancel(errors.New("standard input was closed"))
		}()
	}
	c, err := newCluster(o)
	if err != nil {
		return err
	}
	server, err := c.bring(ctx)
	if err == nil {
		err = c.announce()
	}
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return errors.Join(err, c.close())
	}
	select {
	case <-ctx.Done():
	case <-server.shutdown:
	case <-c.room.Gone():
		err = errors.New("the cluster's first process was killed")
	}
	say("removing")
	err = errors.Join(err, c.close())
	server.close()
	return err
}

func newCluster(o Options) (*cluster, error) {
	random := make([]byte, 8)
	_, _ = rand.Read(random)
	password := make([]byte, 16)
	_, _ = rand.Read(password)
	c := &cluster{
		options: o, dir: dir(o.Dir), begun: time.Now(), id: hex.EncodeToString(random), registryPassword: hex.EncodeToString(password),
		mappings: firstMappings(), components: map[string]*component{}, failed: make(chan error, 1),
	}
	if err := os.MkdirAll(o.Dir, 0o755); err != nil {
		return nil, err
	}
	var err error
	if c.lock, err = takeLock(c.dir); err != nil {
		return nil, err
	}
	// What a killed supervisor left here.
	if err := sweep(c.dir); err != nil {
		return nil, err
	}
	if err := os.RemoveAll(c.dir.at("logs")); err != nil {
		return nil, err
	}
	return c, c.dir.make()
}

var errLocked = errors.New("a cluster runs in this directory")

func takeLock(d dir) (*os.File, error) {
	lock, err := os.OpenFile(d.at("lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		lock.Close()
		return nil, fmt.Errorf("%s: %w", d, errLocked)
	}
	return lock, nil
}

// bring starts everything, each as soon as what it needs is there.
func (c *cluster) bring(parent context.Context) (*controlServer, error) {
	ctx, cancel := context.WithCancelCause(parent)
	defer cancel(nil)
	if err := c.open(); err != nil {
		return nil, err
	}
	finished := make(chan struct{})
	defer close(finished)
	go func() {
		select {
		case err := <-c.failed:
			cancel(err)
		case <-finished:
		}
	}()
	server, err := c.serveControl()
	if err != nil {
		return nil, err
	}
	work, together := errgroup.WithContext(ctx)
	for _, stage := range []func(context.Context) error{c.controlPlane, c.amazon, c.runtime} {
		work.Go(func() error { return stage(together) })
	}
	for _, one := range c.options.Forwards {
		port, to, _ := strings.Cut(one, "=")
		if _, err := c.ports.forward(port, to); err != nil {
			return nil, fmt.Errorf("--forward %s: %w", one, err)
		}
	}
	for _, one := range c.options.Publishes {
		port, to, _ := strings.Cut(one, "=")
		if _, err := c.ports.publish(port, to); err != nil {
			return nil, fmt.Errorf("--publish %s: %w", one, err)
		}
	}
	err = work.Wait()
	if err == nil {
		for _, name := range c.options.With {
			if err = c.startOptional(ctx, name); err != nil {
				break
			}
		}
	}
	if err != nil {
		if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
			err = cause
		}
		return nil, err
	}
	c.mutex.Lock()
	c.failed = nil
	c.mutex.Unlock()
	return server, nil
}

// detached starts the same again, without the flag, in a session of its own,
// and waits until it is ready or has failed.
func detached(place string) error {
	if err := os.MkdirAll(place, 0o755); err != nil {
		return err
	}
	log, err := os.Create(filepath.Join(place, "up.log"))
	if err != nil {
		return err
	}
	defer log.Close()
	arguments := []string{"envctl-test-cluster", "up"}
	for _, one := range os.Args[1:] {
		if strings.TrimLeft(one, "-") != "detach" {
			arguments = append(arguments, one)
		}
	}
	reader, writer, err := os.Pipe()
	if err != nil {
		return err
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return err
	}
	// The pipe's end is the news: it closes when the other is ready, or dead.
	child, err := os.StartProcess("/proc/self/exe", arguments, &os.ProcAttr{
		Files: []*os.File{null, log, log, writer},
		Env:   append(os.Environ(), readyPipe+"=3"),
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return err
	}
	writer.Close()
	line, _ := io.ReadAll(reader)
	if len(line) == 0 {
		_, _ = child.Wait()
		return fmt.Errorf("the cluster did not start:\n%s", tail(log.Name(), 40))
	}
	fmt.Print(string(line))
	return nil
}

const readyPipe = "ENVCTL_TEST_CLUSTER_READY_PIPE"
