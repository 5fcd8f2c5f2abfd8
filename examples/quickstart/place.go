package main

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millstream-go/millstream/connect/kafka/kafkatest"
)

// place is where the quickstart keeps its data: one directory with the state of the application and, unless a real
// Kafka is used, the broker's topics.
type place struct{ dir string }

const (
	marker = "millstream-quickstart.txt" // marks a directory as ours, so that no other is ever wiped
	answer = "broker.addr"               // where the broker of a running quickstart answers
)

func defaultDir() string {
	if dir, err := os.UserCacheDir(); err == nil {
		return filepath.Join(dir, "millstream-quickstart")
	}
	return filepath.Join(os.TempDir(), fmt.Sprintf("millstream-quickstart-%d", os.Getuid()))
}

// open makes the directory, or takes one that an earlier run made, and wipes it if asked to.
func (p place) open(reset bool) error {
	entries, err := os.ReadDir(p.dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("open the state directory: %w", err)
	}
	if len(entries) > 0 && !slices.ContainsFunc(entries, func(e os.DirEntry) bool { return e.Name() == marker }) {
		return fmt.Errorf("%s is not empty, and no quickstart made it: choose another directory with -state", p.dir)
	}
	if addr, err := os.ReadFile(filepath.Join(p.dir, answer)); err == nil {
		if c, err := net.DialTimeout("tcp", string(addr), time.Second); err == nil {
			c.Close()
			return fmt.Errorf("another quickstart runs on %s (its broker answers at %s): stop it, or choose another directory with -state", p.dir, addr)
		}
	}
	if reset {
		for _, name := range []string{"state", "broker", answer} {
			if err := os.RemoveAll(filepath.Join(p.dir, name)); err != nil {
				return fmt.Errorf("wipe the state directory: %w", err)
			}
		}
	}
	if err := os.MkdirAll(p.dir, 0o700); err != nil {
		return fmt.Errorf("make the state directory: %w", err)
	}
	text := "This directory belongs to the quickstart of Millstream. It may be deleted at any time.\n"
	if err := os.WriteFile(filepath.Join(p.dir, marker), []byte(text), 0o600); err != nil {
		return fmt.Errorf("make the state directory: %w", err)
	}
	return nil
}

func (p place) state() string { return filepath.Join(p.dir, "state") }

// instance names this instance of the application after its directory. The default is kept in the state and would be
// lost with it; a wiped instance would then wait for itself, as for one that may come back.
func (p place) instance() string {
	host, _ := os.Hostname()
	h := fnv.New64a()
	fmt.Fprint(h, host, p.dir)
	return fmt.Sprintf("quickstart-%x", h.Sum64())
}

// broker starts the broker inside this process, on what it kept last time.
func (p place) broker() (addrs []string, stop func(), err error) {
	b, err := kafkatest.Start(filepath.Join(p.dir, "broker"), nil)
	if err != nil {
		return nil, nil, err
	}
	file := filepath.Join(p.dir, answer)
	if err := os.WriteFile(file, []byte(b.Addrs()[0]), 0o600); err != nil {
		b.Close()
		return nil, nil, fmt.Errorf("note the broker's address: %w", err)
	}
	return b.Addrs(), func() {
		b.Close()
		_ = os.Remove(file)
	}, nil
}

// topics are the topics that the quickstart reads and writes. The application makes two more for itself.
type topics struct{ app, payments, features, late string }

const partitions = 4

func topicsOf(prefix string) topics {
	return topics{prefix + "app", prefix + "payments", prefix + "card-features", prefix + "payments-late"}
}

func (t topics) own() []string {
	return []string{t.app + "-card-spend-repartition", t.app + "-card-spend-changelog"}
}

// create makes the topics that do not exist yet.
func (t topics) create(ctx context.Context, brokers []string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	cl, err := kgo.NewClient(kgo.SeedBrokers(brokers...))
	if err != nil {
		return fmt.Errorf("connect to Kafka: %w", err)
	}
	defer cl.Close()
	made, err := kadm.NewClient(cl).CreateTopics(ctx, partitions, -1, nil, t.payments, t.features, t.late)
	if err != nil {
		return fmt.Errorf("connect to Kafka at %s: %w", strings.Join(brokers, ","), err)
	}
	for _, r := range made.Sorted() {
		if r.Err != nil && !errors.Is(r.Err, kerr.TopicAlreadyExists) {
			return fmt.Errorf("create topic %q: %w", r.Topic, r.Err)
		}
	}
	return nil
}
