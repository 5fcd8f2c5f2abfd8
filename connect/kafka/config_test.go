package kafka

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl"
	"pgregory.net/rapid"

	"github.com/millstream-go/millstream/sink"
)

func TestCheck(t *testing.T) {
	good := Cluster{Brokers: []string{"a:9092"}}
	assert.Empty(t, good.Check())
	assert.Equal(t, "kafka", good.System())
	for want, c := range map[string]Cluster{
		"Brokers is empty":                             {},
		`broker address "a" is not of the form`:        {Brokers: []string{"a"}},
		"no profile number 7":                          {Brokers: good.Brokers, Profile: 7},
		"ReplicationFactor is -3":                      {Brokers: good.Brokers, ReplicationFactor: -3},
		"TLS.InsecureSkipVerify is set":                {Brokers: good.Brokers, TLS: &tls.Config{InsecureSkipVerify: true}},
		"PLAIN without TLS would expose":               {Brokers: good.Brokers, SASL: Plain("u", "p")},
		"SCRAM-SHA-256 without TLS would expose":       {Brokers: good.Brokers, SASL: ScramSHA256("u", "p")},
		"SCRAM-SHA-512 without TLS would expose":       {Brokers: good.Brokers, SASL: ScramSHA512("u", "p")},
		"OAUTHBEARER without TLS would expose":         {Brokers: good.Brokers, SASL: OAuthBearer(nil)},
		"DialTimeout is -1s: use a positive duration":  {Brokers: good.Brokers, DialTimeout: -time.Second},
		"MetadataMaxAge is -1s: use a positive durati": {Brokers: good.Brokers, MetadataMaxAge: -time.Second},
	} {
		errs := c.Check()
		require.Len(t, errs, 1, want)
		assert.ErrorContains(t, errs[0], want)
		_, err := c.Open(t.Context(), env{}.app("a"))
		assert.ErrorContains(t, err, want)
	}
	assert.Len(t, Cluster{Brokers: []string{"x", "y"}, Profile: 9}.Check(), 3, "all at once")
	assert.Empty(t, Cluster{Brokers: good.Brokers, SASL: Plain("u", "p"), AllowPlaintextCredentials: true}.Check())
	assert.Empty(t, Cluster{Brokers: good.Brokers, SASL: Plain("u", "p"), TLS: &tls.Config{}}.Check())
	assert.Empty(t, Cluster{Brokers: good.Brokers, TLS: &tls.Config{InsecureSkipVerify: true}, AllowInsecureTLS: true}.Check())
	assert.Equal(t, uint16(tls.VersionTLS12), secureTLS(&tls.Config{MinVersion: tls.VersionTLS10}).MinVersion)
	assert.Equal(t, uint16(tls.VersionTLS13), secureTLS(&tls.Config{MinVersion: tls.VersionTLS13}).MinVersion)
}

// Nothing that is printed, logged or marshalled shows a secret.
func TestCredentialsAreRedacted(t *testing.T) {
	const canary = "c4n4ry"
	mechanisms := map[string]sasl.Mechanism{
		"PLAIN": Plain("user", canary), "SCRAM-SHA-256": ScramSHA256("user", canary), "SCRAM-SHA-512": ScramSHA512("user", canary),
		"OAUTHBEARER": OAuthBearer(func(context.Context) (string, error) { return canary, nil }),
		"AWS_MSK_IAM": AWSMSKIAM(func(context.Context) (string, string, string, error) { return canary, canary, canary, nil }),
	}
	for name, m := range mechanisms {
		assert.Equal(t, name, m.Name())
		c := Cluster{Brokers: []string{"a:9092"}, SASL: m, TLS: &tls.Config{ServerName: canary}}
		var out strings.Builder
		log := slog.New(slog.NewJSONHandler(&out, nil))
		for _, v := range []any{c, &c, m, map[string]any{"c": c, "m": m}, struct{ C Cluster }{c}} {
			for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
				fmt.Fprintf(&out, verb+"\n", v)
			}
			j, err := json.Marshal(v)
			require.NoError(t, err)
			out.Write(j)
			log.Info("x", "v", v)
		}
		assert.NotContains(t, out.String(), canary)
		assert.NotContains(t, out.String(), fmt.Sprintf("%x", canary))
		assert.Contains(t, out.String(), name)
	}
	_, _, err := OAuthBearer(func(context.Context) (string, error) { return "", errors.New("no token server") }).Authenticate(t.Context(), "h")
	assert.ErrorContains(t, err, "get an OAuth token: no token server")
	_, _, err = AWSMSKIAM(func(context.Context) (string, string, string, error) { return "", "", "", errors.New("no role") }).Authenticate(t.Context(), "h")
	assert.ErrorContains(t, err, "get AWS credentials: no role")
}

func TestConnecting(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	secure := fakeEnv(t, kfake.EnableSASL(), kfake.Superuser("PLAIN", "ann", "right"), kfake.Superuser("SCRAM-SHA-512", "ann", "right"))
	app := secure.app("a")
	app.Sources, app.Groups, app.Sinks = nil, nil, nil
	app.Internal = nil
	open := func(c Cluster) error {
		s, err := c.Open(ctx, app)
		if err == nil {
			s.Close(ctx)
		}
		return err
	}
	base := Cluster{Brokers: secure.addrs, AllowPlaintextCredentials: true, DialTimeout: 3 * time.Second}
	with := func(f func(*Cluster)) Cluster {
		c := base
		f(&c)
		return c
	}
	require.NoError(t, open(with(func(c *Cluster) { c.SASL = Plain("ann", "right") })))
	require.NoError(t, open(with(func(c *Cluster) { c.SASL = ScramSHA512("ann", "right") })))
	err := open(with(func(c *Cluster) { c.SASL = Plain("ann", "wr0ng") }))
	require.ErrorContains(t, err, "instead of accepting the credentials (SASL PLAIN)")
	assert.ErrorContains(t, err, secure.addrs[0])
	assert.NotContains(t, err.Error(), "wr0ng")
	// The fake hangs up; a real broker says why.
	secure.fake.Cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.SASLAuthenticate}, TopLevel: true, Err: kerr.SaslAuthenticationFailed})
	require.ErrorContains(t, open(with(func(c *Cluster) { c.SASL = ScramSHA512("bob", "wr0ng") })), "refused the credentials (SASL SCRAM-SHA-512)")
	require.ErrorContains(t, open(with(func(c *Cluster) { c.SASL = ScramSHA256("ann", "right") })), "instead of accepting the credentials (SASL SCRAM-SHA-256)", "a mechanism the broker does not have")
	require.ErrorContains(t, open(base), "no TLS and no SASL")

	// Nobody listens there; or somebody who does not answer; or no such name.
	gone := "127.0.0.1:1"
	err = open(with(func(c *Cluster) { c.Brokers, c.DialTimeout = []string{gone}, 500*time.Millisecond }))
	require.ErrorContains(t, err, "no broker could be reached at "+gone)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	began := time.Now()
	err = open(with(func(c *Cluster) { c.Brokers, c.DialTimeout = []string{l.Addr().String()}, 500*time.Millisecond }))
	require.ErrorContains(t, err, "no broker answered at "+l.Addr().String()+" within 500ms")
	assert.Less(t, time.Since(began), 10*time.Second)

	// A dialer of one's own.
	dialed := make(chan string, 100)
	require.NoError(t, open(with(func(c *Cluster) {
		c.SASL = Plain("ann", "right")
		c.Dialer = func(ctx context.Context, network, host string) (net.Conn, error) {
			dialed <- host
			return (&net.Dialer{}).DialContext(ctx, network, host)
		}
	})))
	assert.NotEmpty(t, dialed)
}

func TestTLS(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	cert, authority := certificate(t)
	v := fakeEnv(t, kfake.TLS(&tls.Config{Certificates: []tls.Certificate{cert}}))
	app := v.app("a")
	app.Sources, app.Groups, app.Sinks, app.Internal = nil, nil, nil, nil
	open := func(c Cluster) error {
		c.Brokers, c.DialTimeout = v.addrs, 3*time.Second
		s, err := c.Open(ctx, app)
		if err == nil {
			s.Close(ctx)
		}
		return err
	}
	trusted := &tls.Config{RootCAs: authority}
	require.NoError(t, open(Cluster{TLS: trusted}))
	require.NoError(t, open(Cluster{TLS: trusted, Dialer: (&net.Dialer{}).DialContext}))
	require.NoError(t, open(Cluster{TLS: &tls.Config{InsecureSkipVerify: true}, AllowInsecureTLS: true}))
	assert.ErrorContains(t, open(Cluster{TLS: &tls.Config{}}), "signed by an unknown authority: put the authority's certificate into TLS.RootCAs")
	assert.ErrorContains(t, open(Cluster{TLS: &tls.Config{RootCAs: authority, ServerName: "other"}}), "have a certificate for another name")
	assert.ErrorContains(t, open(Cluster{}), "the listener probably wants TLS or SASL, and the configuration has no TLS and no SASL")

	plain := fakeEnv(t)
	v = plain
	assert.ErrorContains(t, open(Cluster{TLS: trusted}), "what lies between (firewall, TLS)", "TLS where none is spoken")
}

func certificate(t *testing.T) (tls.Certificate, *x509.CertPool) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	require.NoError(t, err)
	parsed, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	pool := x509.NewCertPool()
	pool.AddCert(parsed)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

// The vectors of Kafka's own UtilsTest.
func TestMurmur2(t *testing.T) {
	for in, want := range map[string]int32{
		"21": -973932308, "foobar": -790332482, "a-little-bit-long-string": -985981536, "a-little-bit-longer-string": -1486304829,
		"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971, "abc": 479470107,
	} {
		assert.Equal(t, want, int32(murmur2([]byte(in))), in)
	}
	theirs := kgo.StickyKeyPartitioner(nil).ForTopic("t")
	rapid.Check(t, func(t *rapid.T) {
		key := rapid.SliceOf(rapid.Byte()).Draw(t, "key")
		if key == nil {
			key = []byte{}
		}
		n := rapid.IntRange(1, 1000).Draw(t, "partitions")
		require.Equal(t, theirs.Partition(&kgo.Record{Key: key}, n), partitionOf(key, n))
	})
}

func TestPartitioner(t *testing.T) {
	p := partitioner().ForTopic("t")
	assert.True(t, p.RequiresConsistency(nil))
	assert.Equal(t, 7, p.Partition(&kgo.Record{Partition: 7, Key: []byte("k")}, 9))
	assert.Equal(t, partitionOf([]byte("k"), 9), p.Partition(&kgo.Record{Partition: sink.ByKey, Key: []byte("k")}, 9))
	assert.Equal(t, partitionOf(nil, 9), p.Partition(&kgo.Record{Partition: sink.ByKey, Key: []byte{}}, 9), "an empty key is a key")
	var turn []int
	for range 4 {
		turn = append(turn, p.Partition(&kgo.Record{Partition: sink.ByKey}, 3))
	}
	assert.Equal(t, []int{0, 1, 2, 0}, turn)
}

func TestLimits(t *testing.T) {
	got := limitsOf(map[string]string{"max.message.bytes": "1000", "message.timestamp.type": "CreateTime",
		"message.timestamp.before.max.ms": "9223372036854775807", "message.timestamp.after.max.ms": "3600000"})
	assert.Equal(t, 1000-batchOverhead, got.MaxBytes)
	assert.Zero(t, got.MaxBehind)
	assert.Equal(t, time.Hour, got.MaxAhead)
	got = limitsOf(map[string]string{"message.timestamp.type": "LogAppendTime", "message.timestamp.after.max.ms": "3600000"})
	assert.Zero(t, got.MaxAhead, "the broker overwrites the time")
}
