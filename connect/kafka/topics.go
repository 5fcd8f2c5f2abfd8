package kafka

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/millstream-go/millstream/connect"
)

// topic is what a session knows of a topic.
type topic struct {
	id         [16]byte
	partitions int32
	limits     connect.Limits
}

// The settings of internal topics. Brokers delete by record time and refuse times far from their clock; neither must
// happen to records whose times are those of events, or whose deletion only we may decide.
var (
	anyTime = map[string]string{
		"message.timestamp.type":          "CreateTime",
		"message.timestamp.before.max.ms": strconv.FormatInt(math.MaxInt64, 10),
		"message.timestamp.after.max.ms":  strconv.FormatInt(math.MaxInt64, 10),
	}
	wanted = map[connect.Purpose]map[string]string{
		connect.Changelog:   with(anyTime, "cleanup.policy", "compact"),
		connect.Repartition: with(anyTime, "cleanup.policy", "delete", "retention.ms", "-1", "retention.bytes", "-1"),
		// Whoever takes a partition reads all that has not been compacted yet. The segment that is written to never is.
		connect.Positions: with(anyTime, "cleanup.policy", "compact", "segment.bytes", "16777216", "min.cleanable.dirty.ratio", "0.1"),
	}
)

func with(m map[string]string, pairs ...string) map[string]string {
	m = maps.Clone(m)
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i]] = pairs[i+1]
	}
	return m
}

// prepareTopics verifies sources and sinks, creates the internal topics that are missing and verifies the others.
func (s *session) prepareTopics(ctx context.Context) error {
	if err := s.requireTopics(ctx); err != nil {
		return err
	}
	if err := s.createInternal(ctx); err != nil {
		return err
	}
	return s.verifyTopics(ctx)
}

func (s *session) names() []string {
	var names []string
	for _, src := range s.app.Sources {
		names = append(names, src.Name)
	}
	names = append(names, s.app.Sinks...)
	names = append(names, s.app.Global...)
	for _, t := range s.app.Internal {
		names = append(names, t.Name)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// loadTopics reads ids and partition counts; topics that do not exist stay unknown.
func (s *session) loadTopics(ctx context.Context) error {
	names := s.names()
	if len(names) == 0 {
		return nil
	}
	listed, err := s.adm.ListTopics(ctx, names...)
	if err != nil {
		return fmt.Errorf("kafka: list topics: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, d := range listed {
		switch {
		case d.Err == nil:
			t := s.topics[name]
			t.id, t.partitions = d.ID, int32(len(d.Partitions))
			s.topics[name] = t
		case !errors.Is(d.Err, kerr.UnknownTopicOrPartition):
			return fmt.Errorf("kafka: describe topic %q: %w", name, d.Err)
		}
	}
	return nil
}

func (s *session) partitionsOf(name string) int32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.topics[name].partitions
}

// heardOf is how long a broker may take to hear of a topic that was made just now.
const heardOf = 2 * time.Second

// requireTopics names all sources and sinks that do not exist, in one error.
func (s *session) requireTopics(ctx context.Context) error {
	for began := time.Now(); ; {
		if err := s.patiently(ctx, "list the topics", s.loadTopics); err != nil {
			return err
		}
		err := s.missingTopics()
		if err == nil || time.Since(began) > heardOf {
			return err
		}
		if err := sleep(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
}

func (s *session) missingTopics() error {
	var missing []string
	need := func(kind, name string) {
		if s.partitionsOf(name) == 0 {
			missing = append(missing, fmt.Sprintf("%s %q: kafka-topics.sh --bootstrap-server %s --create --topic %s --partitions <n>", kind, name, s.cluster.Brokers[0], name))
		}
	}
	for _, src := range s.app.Sources {
		need("source", src.Name)
	}
	for _, name := range s.app.Sinks {
		need("sink", name)
	}
	for _, name := range s.app.Global {
		need("global table", name)
	}
	slices.Sort(missing)
	if missing = slices.Compact(missing); len(missing) > 0 {
		return fmt.Errorf("kafka: %d of the application's topics do not exist. Create them, or correct their names:\n  %s", len(missing), strings.Join(missing, "\n  "))
	}
	return nil
}

func (s *session) createInternal(ctx context.Context) error {
	var created []string
	for _, t := range s.app.Internal {
		if found := s.partitionsOf(t.Name); found > 0 {
			if t.Partitions > 0 && found != t.Partitions {
				return fmt.Errorf("kafka: internal topic %q has %d partitions, the application needs %d: state is laid out by partition, so the number cannot change under it. "+
					"Go back to the configuration that made it, or start with an application id that was not used before", t.Name, found, t.Partitions)
			}
			continue
		}
		n := t.Partitions
		for _, like := range t.Like {
			n = max(n, s.partitionsOf(like))
		}
		if t.Partitions > 0 {
			n = t.Partitions
		}
		if n == 0 {
			return fmt.Errorf("kafka: internal topic %q: its number of partitions is not given, and none of %v exists", t.Name, t.Like)
		}
		if err := s.createTopic(ctx, t, n); err != nil {
			return err
		}
		s.mu.Lock()
		s.topics[t.Name] = topic{partitions: n}
		s.mu.Unlock()
		created = append(created, t.Name)
	}
	return s.awaitTopics(ctx, created)
}

func (s *session) createTopic(ctx context.Context, t connect.InternalTopic, partitions int32) error {
	settings := maps.Clone(wanted[t.Purpose])
	replicas := s.cluster.ReplicationFactor
	if replicas == 0 {
		replicas = -1
	}
	for {
		values := map[string]*string{}
		for k, v := range settings {
			values[k] = &v
		}
		resp, err := s.adm.CreateTopic(ctx, partitions, replicas, values, t.Name)
		switch {
		case err == nil:
			s.log.Info("created internal topic", "topic", t.Name, "partitions", partitions)
			return nil
		case errors.Is(err, kerr.TopicAlreadyExists):
			return nil // another instance was quicker; what it made is verified
		case errors.Is(err, kerr.InvalidConfig) && settings["message.timestamp.before.max.ms"] != "":
			// A broker from before these settings (Kafka 3.6) has no such bounds, or another one.
			s.log.Warn("the broker does not know the settings message.timestamp.before.max.ms and after.max.ms: created without them", "topic", t.Name)
			delete(settings, "message.timestamp.before.max.ms")
			delete(settings, "message.timestamp.after.max.ms")
		case errors.Is(err, kerr.InvalidReplicationFactor):
			return fmt.Errorf("kafka: create internal topic %q: the cluster has not enough brokers for replication factor %d (Cluster.ReplicationFactor; -1 is the broker's default.replication.factor): %s: %w",
				t.Name, replicas, resp.ErrMessage, err)
		default:
			return fmt.Errorf("kafka: create internal topic %q with %d partitions: %s: %w", t.Name, partitions, resp.ErrMessage, err)
		}
	}
}

// awaitTopics waits until the broker that answers has heard of the topics that another one made.
func (s *session) awaitTopics(ctx context.Context, names []string) error {
	if len(names) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		if err := s.loadTopics(ctx); err != nil {
			return err
		}
		if !slices.ContainsFunc(names, func(n string) bool {
			s.mu.Lock()
			defer s.mu.Unlock()
			return s.topics[n].id == [16]byte{} && s.hasTopicIDs()
		}) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("kafka: internal topics %v were created, but the brokers still do not list them: %w", names, ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// hasTopicIDs says whether this broker gives topics ids at all: then a topic without one has not been listed yet.
func (s *session) hasTopicIDs() bool {
	for _, t := range s.topics {
		if t.id != [16]byte{} {
			return true
		}
	}
	return false
}

// verifyTopics compares the internal topics' settings with what they must be, and learns the limits of all that is
// written to.
func (s *session) verifyTopics(ctx context.Context) error {
	purpose := map[string]connect.Purpose{}
	names := slices.Clone(s.app.Sinks)
	for _, t := range s.app.Internal {
		purpose[t.Name] = t.Purpose
		names = append(names, t.Name)
	}
	slices.Sort(names)
	names = slices.Compact(names)
	if len(names) == 0 {
		return nil
	}
	var configs kadm.ResourceConfigs
	if err := s.patiently(ctx, "read the topics' settings", func(ctx context.Context) (err error) {
		if configs, err = s.adm.DescribeTopicConfigs(ctx, names...); err != nil {
			return err
		}
		for _, c := range configs {
			if errors.Is(c.Err, kerr.UnknownTopicOrPartition) { // the broker has not heard yet of what was made just now
				return fmt.Errorf("topic %q: %w", c.Name, c.Err)
			}
		}
		return nil
	}); err != nil {
		return fmt.Errorf("kafka: read the topics' settings: %w", err)
	}
	var wrong []string
	for _, c := range configs {
		_, internal := purpose[c.Name]
		if c.Err != nil {
			if !internal && errors.Is(c.Err, kerr.TopicAuthorizationFailed) {
				s.log.Warn("not allowed to read a sink's settings (DESCRIBE_CONFIGS): records that it refuses will fail the epoch instead of going to their error policy", "topic", c.Name)
				continue
			}
			return fmt.Errorf("kafka: read the settings of topic %q: %w", c.Name, c.Err)
		}
		found := map[string]string{}
		for _, v := range c.Configs {
			found[v.Key] = v.MaybeValue()
		}
		if internal {
			wrong = append(wrong, s.deviations(c.Name, purpose[c.Name], found)...)
		}
		s.mu.Lock()
		t := s.topics[c.Name]
		t.limits = limitsOf(found)
		s.topics[c.Name] = t
		s.mu.Unlock()
	}
	if len(wrong) > 0 {
		return fmt.Errorf("kafka: settings of internal topics would lose records:\n  %s", strings.Join(wrong, "\n  "))
	}
	return nil
}

func (s *session) deviations(name string, p connect.Purpose, found map[string]string) (wrong []string) {
	for _, key := range slices.Sorted(maps.Keys(wanted[p])) {
		want := wanted[p][key]
		if have, ok := found[key]; ok && have != want {
			wrong = append(wrong, fmt.Sprintf("topic %q has %s=%s, it must be %s: kafka-configs.sh --bootstrap-server %s --alter --entity-type topics --entity-name %s --add-config %s=%s",
				name, key, have, want, s.cluster.Brokers[0], name, key, want))
		}
	}
	return wrong
}

// batchOverhead is more than what a batch of one record holds beside its key, value and headers.
const batchOverhead = 128

func limitsOf(settings map[string]string) (l connect.Limits) {
	if n, err := strconv.Atoi(settings["max.message.bytes"]); err == nil {
		l.MaxBytes = max(1, n-batchOverhead)
	}
	if settings["message.timestamp.type"] == "LogAppendTime" {
		return l // the broker puts its own time in place of ours
	}
	bound := func(key string) time.Duration {
		ms, err := strconv.ParseInt(settings[key], 10, 64)
		if err != nil || ms > math.MaxInt64/int64(time.Millisecond) {
			return 0
		}
		return time.Duration(ms) * time.Millisecond
	}
	l.MaxBehind, l.MaxAhead = bound("message.timestamp.before.max.ms"), bound("message.timestamp.after.max.ms")
	return l
}

// batchBytes is the largest batch that a topic accepts.
func (s *session) batchBytes(name string) int32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := s.topics[name].limits.MaxBytes; n > 0 {
		return int32(min(n+batchOverhead, 64<<20))
	}
	return 1<<20 + 12 // Kafka's default max.message.bytes
}
