package kafka

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/millstream-go/millstream/connect"
	"github.com/millstream-go/millstream/internal/plant"
	"github.com/millstream-go/millstream/source"
)

func (c Cluster) dialTimeout() time.Duration {
	if c.DialTimeout > 0 {
		return c.DialTimeout
	}
	return defaultDialTimeout
}

// transactionalID is what two processes of one instance have in common, so that the later one fences the earlier.
func transactionalID(app connect.App) string { return app.ID + "-" + app.Instance }

// transactionTimeout is shorter than the session, so that a dead instance's transaction does not keep its successor
// waiting much longer than the group does.
func transactionTimeout(app connect.App) time.Duration { return app.SessionTimeout * 3 / 4 }

// Open connects: it reaches a broker, verifies what the application needs of the cluster, creates or verifies the
// internal topics, and, under exactly-once, fences an earlier process of this instance and ends its transaction. All
// of it happens before this instance joins the group, which Run does.
func (c Cluster) Open(ctx context.Context, app connect.App) (connect.Session, error) {
	if errs := c.Check(); len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	if err := complete(&app); err != nil {
		return nil, err
	}
	if c.TLS != nil && c.TLS.InsecureSkipVerify {
		app.Logger.Warn("TLS without verification: the brokers' identity is not checked, and everything can be read and changed on the way", "brokers", c.Brokers)
	}
	s := newSession(c, app)
	if err := s.open(ctx); err != nil {
		s.Close(context.WithoutCancel(ctx))
		if perm := acl(err, app); perm != nil {
			return nil, perm
		}
		return nil, err
	}
	return s, nil
}

// complete fills in what an App may leave open, and finds what cannot work.
func complete(app *connect.App) error {
	if app.Logger == nil {
		app.Logger = slog.New(slog.DiscardHandler)
	}
	if app.SessionTimeout == 0 {
		app.SessionTimeout = 10 * time.Second
	}
	if app.FetchBytes <= 0 {
		app.FetchBytes = 32 << 20
	}
	if app.ID == "" || app.Instance == "" {
		return errors.New("kafka: the application needs an id and an instance name")
	}
	if len(transactionalID(*app)) > 249 {
		return fmt.Errorf("kafka: application id and instance name have %d characters together: at most 248 fit into a transactional id", len(app.ID)+len(app.Instance))
	}
	if t := transactionTimeout(*app); app.Guarantee == connect.ExactlyOnce && app.CommitEvery > t/2 {
		return fmt.Errorf("kafka: a commit interval of %v is too long for a session timeout of %v: a transaction must end within %v (three quarters of the session timeout), "+
			"and the interval may take half of that: use a commit interval of %v or less, or a longer session timeout", app.CommitEvery, app.SessionTimeout, t, t/2)
	}
	seen := map[string]bool{}
	for _, g := range app.Groups {
		for _, t := range g {
			if seen[t] {
				return fmt.Errorf("kafka: input %q is in two groups", t)
			}
			seen[t] = true
		}
	}
	for _, src := range app.Sources {
		if !seen[src.Name] {
			return fmt.Errorf("kafka: source %q is in no group of inputs", src.Name)
		}
	}
	return nil
}

func (s *session) open(ctx context.Context) error {
	if err := s.prepare(ctx); err != nil {
		return err
	}
	return s.openProducer(ctx)
}

// prepare connects, and verifies all but the right to write.
func (s *session) prepare(ctx context.Context) error {
	var err error
	opts := append(s.commonOptions(), s.readOptions()...)
	if s.decompressor, err = newDecompressor(s.pools, opts...); err != nil {
		return fmt.Errorf("kafka: configure the reading client: %w", err)
	}
	// In front: the one that ClientOptions may name is the one that counts.
	if s.data, err = kgo.NewClient(append([]kgo.Opt{kgo.WithDecompressor(s.decompressor)}, opts...)...); err != nil {
		return fmt.Errorf("kafka: configure the reading client: %w", err)
	}
	s.adm = kadm.NewClient(s.data)
	ping, cancel := context.WithTimeout(ctx, s.cluster.dialTimeout())
	defer cancel()
	if err := s.ping(ping); err != nil {
		return explainDial(s.cluster, err)
	}
	s.data.UpdateFetchMaxBytes(fetchSizes(s.app.FetchBytes, len(s.data.DiscoveredBrokers())))
	if s.app.Guarantee == connect.ExactlyOnce {
		if err := s.checkTransactionVersion(ctx); err != nil {
			return err
		}
	}
	return s.prepareTopics(ctx)
}

// ping tries until a broker answers, an error shows that trying again is of no use, or the time is over.
func (s *session) ping(ctx context.Context) error {
	var unreachable error // what a connection was refused with: it says more than that the time is over
	for {
		// The client does not give up a connection that is silent from the start, whatever the context says.
		answer := make(chan error, 1)
		go func() { answer <- s.data.Ping(ctx) }()
		var err error
		select {
		case err = <-answer:
		case <-ctx.Done():
			err = ctx.Err()
		}
		if err == nil {
			return nil
		}
		var refused *net.OpError
		if errors.As(err, &refused) && refused.Op == "dial" {
			unreachable = err
		} else if unreachable == nil || !errors.Is(err, context.DeadlineExceeded) {
			return err
		}
		if ctx.Err() != nil {
			return unreachable
		}
		select {
		case <-ctx.Done():
			return unreachable
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func (s *session) openProducer(ctx context.Context) error {
	opts := append(s.commonOptions(), s.writeOptions()...)
	if s.app.Guarantee == connect.ExactlyOnce {
		opts = append(opts, kgo.TransactionalID(transactionalID(s.app)), kgo.TransactionTimeout(transactionTimeout(s.app)),
			kgo.ConcurrentTransactionsBackoff(2*time.Millisecond))
	}
	var err error
	if s.producer, err = kgo.NewClient(opts...); err != nil {
		return fmt.Errorf("kafka: configure the writing client: %w", err)
	}
	if plant.NoTransaction {
		if s.outside, err = kgo.NewClient(append(s.commonOptions(), s.writeOptions()...)...); err != nil {
			return fmt.Errorf("kafka: configure the writing client: %w", err)
		}
	}
	if s.app.Guarantee != connect.ExactlyOnce {
		return nil
	}
	// InitProducerID: from here on an earlier process of this instance can commit nothing, and what it left open is aborted.
	if err := s.patiently(ctx, "take over the transactional id", func(ctx context.Context) error {
		_, _, err := s.producer.ProducerID(ctx)
		return err
	}); err != nil {
		return fmt.Errorf("kafka: take over transactional id %q: %w", transactionalID(s.app), err)
	}
	return nil
}

func (s *session) commonOptions() []kgo.Opt {
	c := s.cluster
	age := c.MetadataMaxAge
	if age == 0 {
		age = defaultMetadataAge
	}
	opts := []kgo.Opt{
		kgo.WithContext(s.life),
		kgo.SeedBrokers(c.Brokers...),
		kgo.ClientID(s.app.ID + "-" + s.app.Instance),
		kgo.SoftwareNameAndVersion("millstream", "v0"),
		kgo.WithLogger(clientLogger{s.app.Logger}),
		kgo.MetadataMaxAge(age),
		kgo.MetadataMinAge(min(age, 250*time.Millisecond)),
		kgo.RetryTimeout(30 * time.Second),
		kgo.MaxDecompressBatchBytes(128 << 20),
		kgo.BrokerMaxReadBytes(100 << 20),
		kgo.DisableClientMetrics(),
		kgo.ProducerBatchCompression(compression),
	}
	if c.SASL != nil {
		opts = append(opts, kgo.SASL(c.SASL))
	}
	switch {
	case c.TLS != nil && c.Dialer != nil:
		conf, dial := secureTLS(c.TLS), c.Dialer
		opts = append(opts, kgo.Dialer(func(ctx context.Context, network, host string) (net.Conn, error) {
			conn, err := dial(ctx, network, host)
			if err != nil {
				return nil, err
			}
			conf := conf.Clone()
			if conf.ServerName == "" {
				conf.ServerName, _, _ = net.SplitHostPort(host)
			}
			t := tls.Client(conn, conf)
			if err := t.HandshakeContext(ctx); err != nil {
				_ = conn.Close()
				return nil, err
			}
			return t, nil
		}))
	case c.TLS != nil:
		opts = append(opts, kgo.DialTLSConfig(secureTLS(c.TLS)))
	case c.Dialer != nil:
		opts = append(opts, kgo.Dialer(c.Dialer))
	}
	return opts
}

func secureTLS(c *tls.Config) *tls.Config {
	c = c.Clone()
	c.MinVersion = max(c.MinVersion, tls.VersionTLS12)
	return c
}

// fetchSizes bounds what one answer of a broker holds, in all and of one partition. Each of the brokers can have an answer
// under way and another one waiting to be polled. An answer is compressed: decompressed and as records it takes about ten
// times the room, small records more.
func fetchSizes(budget int64, brokers int) (all, partition int32) {
	all = int32(min(max(budget/32/int64(max(1, brokers)), 128<<10), 4<<20))
	return all, max(all/2, 64<<10)
}

func (s *session) readOptions() []kgo.Opt {
	all, partition := fetchSizes(s.app.FetchBytes, len(s.cluster.Brokers))
	opts := []kgo.Opt{
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.KeepControlRecords(), // their offsets count as read
		kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.FetchMaxBytes(all),
		kgo.FetchMaxPartitionBytes(partition),
		kgo.WithPools(s.pools),
		kgo.WithHooks(s.pools),
	}
	if s.cluster.Profile == Throughput {
		opts = append(opts, kgo.FetchMinBytes(16<<10), kgo.FetchMaxWait(10*time.Millisecond))
	} else {
		// A partition that is started while a fetch waits is read only after that fetch, so it must not wait long.
		opts = append(opts, kgo.FetchMinBytes(1), kgo.FetchMaxWait(100*time.Millisecond))
	}
	return append(opts, s.cluster.ClientOptions...)
}

func (s *session) writeOptions() []kgo.Opt {
	linger := 5 * time.Millisecond
	switch {
	case s.cluster.Profile == Latency:
		linger = 0
	case s.app.Guarantee == connect.ExactlyOnce: // nobody sees it before the commit, which sends what waits
		linger = max(linger, min(s.app.CommitEvery/4, 25*time.Millisecond))
	}
	opts := []kgo.Opt{
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.ProducerBatchMaxBytesFn(s.batchBytes),
		// The client counts keys and values alone, and holds a record of its own and a promise for each.
		kgo.MaxBufferedRecords(int(max(s.app.FetchBytes/256, 4<<10))),
		kgo.MaxBufferedBytes(int(max(s.app.FetchBytes, 4<<20))),
		kgo.ProducerLinger(linger),
		kgo.RecordPartitioner(partitioner()),
		kgo.UnknownTopicRetries(4),
	}
	if compresses(s.data) {
		opts = append(opts, kgo.WithCompressor(s.compressor))
	}
	return append(opts, s.cluster.ClientOptions...)
}

// checkTransactionVersion refuses brokers on which a late request of a dead process can end a transaction of the living.
func (s *session) checkTransactionVersion(ctx context.Context) error {
	var resp *kmsg.ApiVersionsResponse
	if err := s.patiently(ctx, "ask the broker for its features", func(ctx context.Context) (err error) {
		resp, err = kmsg.NewPtrApiVersionsRequest().RequestWith(ctx, s.data)
		return err
	}); err != nil {
		return fmt.Errorf("kafka: ask the broker for its features: %w", err)
	}
	level := int16(0)
	for _, f := range resp.FinalizedFeatures {
		if f.Name == "transaction.version" {
			level = f.MaxVersionLevel
		}
	}
	if level >= 2 {
		return nil
	}
	if len(resp.FinalizedFeatures) == 0 && len(resp.SupportedFeatures) == 0 {
		s.log.Warn("the broker does not say which features it has: exactly-once holds only if its transactions have the guarantees of KIP-890 (transaction.version 2)")
		return nil
	}
	if supported := slices.ContainsFunc(resp.SupportedFeatures, func(f kmsg.ApiVersionsResponseSupportedFeature) bool {
		return f.Name == "transaction.version" && f.MaxVersion >= 2
	}); supported {
		return fmt.Errorf("kafka: exactly-once needs the broker's feature transaction.version at level 2 or above (KIP-890), and it is at %d: "+
			"kafka-features.sh --bootstrap-server %s upgrade --feature transaction.version=2, or run at-least-once", level, s.cluster.Brokers[0])
	}
	return errors.New("kafka: exactly-once needs a broker with the feature transaction.version 2 (KIP-890: Kafka 4.0 or later), and this one does not know it: " +
		"upgrade the brokers, or run at-least-once")
}

// rangeOf is the part of an input that is read.
func (s *session) rangeOf(stream string) source.Range {
	for _, src := range s.app.Sources {
		if src.Name == stream {
			return src.Range
		}
	}
	return source.Range{}
}
