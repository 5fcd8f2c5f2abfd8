// Package kafka connects an application to Apache Kafka, or to a broker that speaks its protocol.
//
// A session has three clients, each with one duty: one is the group's member and only learns which partitions are
// ours; one reads the partitions that were started, and asks administrative questions; one writes, under exactly-once
// with a transactional id of its own. Membership and reading are apart so that reading begins exactly where the engine
// says, when it says so, and never where the group protocol would begin by itself.
//
// Exactly-once needs transactions that protect themselves against late requests (KIP-890, transaction.version 2, the
// default of Kafka 4.0 and later); Open refuses brokers without it.
package kafka

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
)

// Cluster is a connector to one Kafka cluster. Only Brokers is required. The zero values of the others are sensible for
// production on a trusted network; a value must not be changed once it is in use.
//
// However it is printed, logged or marshalled, a Cluster shows no credentials.
type Cluster struct {
	// Brokers are host:port addresses to begin with; the others are learned from them.
	Brokers []string

	// TLS encrypts the connections, and identifies the application by a client certificate if one is set. Nil: no TLS.
	// Versions below 1.2 are never offered.
	TLS *tls.Config
	// AllowInsecureTLS accepts a TLS.InsecureSkipVerify, which lets anyone between here and the brokers read and change
	// everything. It logs a warning at each start.
	AllowInsecureTLS bool
	// SASL identifies the application: Plain, ScramSHA256, ScramSHA512, OAuthBearer, AWSMSKIAM, or any other mechanism
	// of the client library (Kerberos among them).
	SASL sasl.Mechanism
	// AllowPlaintextCredentials accepts a password or token mechanism without TLS.
	AllowPlaintextCredentials bool

	// Profile says whether throughput or latency matters more.
	Profile Profile
	// ReplicationFactor of the topics that Open creates. 0 or -1: the broker's default.replication.factor.
	ReplicationFactor int16
	// DialTimeout bounds how long Open tries to reach a broker. The default is 10 seconds.
	DialTimeout time.Duration
	// MetadataMaxAge is how old the knowledge of topics and leaders may get, and so how soon new partitions are found.
	// The default is 30 seconds.
	MetadataMaxAge time.Duration
	// Dialer opens connections, instead of a net.Dialer. With TLS set, it is wrapped.
	Dialer func(ctx context.Context, network, host string) (net.Conn, error)
	// ClientOptions are given to every client, after all other options: an escape hatch to settings of franz-go that
	// Cluster does not name. Some of them break the guarantees (anything about transactions, isolation, groups, offsets
	// or acknowledgements), and Millstream cannot notice it. What is written is compressed by lz4; kgo.ProducerBatchCompression
	// names another way.
	ClientOptions []kgo.Opt
}

// Profile is a choice between CPU and latency at moderate rates. Under load both behave alike, because batches fill.
type Profile uint8

// The profiles, with figures for 20,000 records a second read and written at-least-once on one broker.
const (
	// Throughput waits up to 10 ms for 16 KiB of (compressed) records per fetch, or, after a second without any, until
	// there are some; and it lingers up to 5 ms before it writes, exactly-once up to a quarter of the commit interval and
	// 25 ms; the end of an epoch never lingers. At-least-once about 3 µs of CPU per record, 99 % of records within 15 ms.
	Throughput Profile = iota
	// Latency fetches whatever there is, at most every 2 ms, and writes without lingering. About 9 µs of CPU per record,
	// 99 % of records within 8 ms. Exactly-once output appears at commits, so it needs a short commit interval as well.
	Latency
)

func (p Profile) String() string {
	switch p {
	case Throughput:
		return "throughput"
	case Latency:
		return "latency"
	}
	return fmt.Sprintf("Profile(%d)", uint8(p))
}

// System returns "kafka".
func (c Cluster) System() string { return "kafka" }

// Check returns everything that is wrong with the configuration. It talks to no one.
func (c Cluster) Check() []error {
	var errs []error
	if len(c.Brokers) == 0 {
		errs = append(errs, errors.New(`kafka: Brokers is empty: name at least one broker, such as "localhost:9092"`))
	}
	for _, b := range c.Brokers {
		if _, _, err := net.SplitHostPort(b); err != nil {
			errs = append(errs, fmt.Errorf(`kafka: broker address %q is not of the form "host:port"`, b))
		}
	}
	if c.Profile > Latency {
		errs = append(errs, fmt.Errorf("kafka: there is no profile number %d: use kafka.Throughput or kafka.Latency", c.Profile))
	}
	if c.ReplicationFactor < -1 {
		errs = append(errs, fmt.Errorf("kafka: ReplicationFactor is %d: use 1 or more, or -1 for the broker's default", c.ReplicationFactor))
	}
	if c.TLS != nil && c.TLS.InsecureSkipVerify && !c.AllowInsecureTLS {
		errs = append(errs, errors.New("kafka: TLS.InsecureSkipVerify is set, so that the brokers' identity would not be checked: "+
			"put the authority that signed their certificates into TLS.RootCAs, or set AllowInsecureTLS"))
	}
	if c.TLS == nil && c.SASL != nil && sendsSecrets(c.SASL) && !c.AllowPlaintextCredentials {
		errs = append(errs, fmt.Errorf("kafka: SASL mechanism %s without TLS would expose the credentials on the network: "+
			"set TLS, or AllowPlaintextCredentials if the network is trusted", c.SASL.Name()))
	}
	if c.DialTimeout < 0 {
		errs = append(errs, fmt.Errorf("kafka: DialTimeout is %v: use a positive duration, or 0 for the default of %v", c.DialTimeout, defaultDialTimeout))
	}
	if c.MetadataMaxAge < 0 {
		errs = append(errs, fmt.Errorf("kafka: MetadataMaxAge is %v: use a positive duration, or 0 for the default of %v", c.MetadataMaxAge, defaultMetadataAge))
	}
	return errs
}

const (
	defaultDialTimeout = 10 * time.Second
	defaultMetadataAge = 30 * time.Second
)

// describe is all that is ever printed of a Cluster.
func (c Cluster) describe() map[string]any {
	d := map[string]any{"brokers": c.Brokers, "tls": c.TLS != nil, "profile": c.Profile.String()}
	if c.SASL != nil {
		d["sasl"] = c.SASL.Name() + " [redacted]"
	}
	return d
}

func (c Cluster) String() string {
	s := "kafka at " + strings.Join(c.Brokers, ",")
	if c.TLS != nil {
		s += " with TLS"
	}
	if c.SASL != nil {
		s += " and SASL " + c.SASL.Name()
	}
	return s
}

// Format prints a Cluster without its credentials, whatever the verb.
func (c Cluster) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(c.String())) }

// GoString is String.
func (c Cluster) GoString() string { return c.String() }

// LogValue implements slog.LogValuer, without credentials.
func (c Cluster) LogValue() slog.Value { return slog.StringValue(c.String()) }

// MarshalJSON describes a Cluster without its credentials.
func (c Cluster) MarshalJSON() ([]byte, error) { return json.Marshal(c.describe()) }
