package e2e_test

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"github.com/millstream-go/millstream/connect/kafka"
	"github.com/millstream-go/millstream/stream"
)

// A real broker with TLS and SCRAM says no in its own way to each thing that can be wrong, and takes the right
// configuration through the whole of an application. The in-process broker's part of it is in TestCredentials.
func TestSecureBroker(t *testing.T) {
	if !integration() {
		t.Skip("needs a real broker: MILLSTREAM_INTEGRATION is not set")
	}
	dir := filepath.Join(t.TempDir(), "kafka")
	script := func(args ...string) string {
		out, err := exec.CommandContext(waitContext(t), "bash", append([]string{"../../scripts/kafka.sh"}, append(args, "--dir", dir)...)...).Output()
		require.NoError(t, err)
		return strings.TrimSpace(string(out))
	}
	at := script("start", "--security", "tls-scram", "--fresh", "--port", "free")
	t.Cleanup(func() { _ = exec.Command("bash", "../../scripts/kafka.sh", "wipe", "--dir", dir).Run() })
	settings, err := os.ReadFile(filepath.Join(dir, "cluster.env"))
	require.NoError(t, err)
	user, password := setting(t, settings, "CLIENT_USER"), setting(t, settings, "CLIENT_PASSWORD")
	pem, err := os.ReadFile(filepath.Join(dir, "tls", "ca.pem"))
	require.NoError(t, err)
	authority := x509.NewCertPool()
	require.True(t, authority.AppendCertsFromPEM(pem))

	client, err := kgo.NewClient(kgo.SeedBrokers(at), kgo.DialTLSConfig(&tls.Config{RootCAs: authority, MinVersion: tls.VersionTLS12}),
		kgo.SASL(scram.Auth{User: user, Pass: password}.AsSha512Mechanism()), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	require.NoError(t, err)
	t.Cleanup(client.Close)
	adm := kadm.NewClient(client)
	for topic, n := range totalsTopics() {
		_, err := adm.CreateTopic(waitContext(t), n, 1, nil, topic)
		require.NoError(t, err)
	}

	b := &broker{addrs: []string{at}}
	with := func(conf func(*kafka.Cluster)) stream.Config {
		secure := *b
		secure.conf = func(c *kafka.Cluster) {
			c.TLS, c.SASL = &tls.Config{RootCAs: authority}, kafka.ScramSHA512(user, password)
			conf(c)
		}
		return secure.config(t.TempDir())
	}
	for want, conf := range map[string]func(*kafka.Cluster){
		"(SASL SCRAM-SHA-512): check user and password":                       func(c *kafka.Cluster) { c.SASL = kafka.ScramSHA512(user, "wr0ng-"+user) },
		"(SASL SCRAM-SHA-512): check user and password, and that this user":   func(c *kafka.Cluster) { c.SASL = kafka.ScramSHA512("nobody", password) },
		"signed by an unknown authority: put the authority's certificate":     func(c *kafka.Cluster) { c.TLS = &tls.Config{} },
		"have a certificate for another name":                                 func(c *kafka.Cluster) { c.TLS.ServerName = "elsewhere" },
		"the listener probably wants TLS or SASL, and the configuration has ": func(c *kafka.Cluster) { c.TLS, c.SASL = nil, nil },
		"(SASL SCRAM-SHA-256)": func(c *kafka.Cluster) { c.SASL = kafka.ScramSHA256(user, password) },
	} {
		err := run(t, totals(b), with(conf)).wait(t)
		if assert.ErrorContains(t, err, want) {
			assert.ErrorContains(t, err, at)
			assert.NotContains(t, err.Error(), password)
			assert.NotContains(t, err.Error(), "wr0ng")
		}
	}

	s := newShop(31)
	for _, r := range append(s.orders(t, 20), s.end(t)...) {
		require.NoError(t, client.ProduceSync(waitContext(t), &kgo.Record{Topic: r.Topic, Partition: r.Partition, Key: r.Key, Value: r.Value, Timestamp: r.Time}).FirstErr())
	}
	in := run(t, totals(b), with(func(*kafka.Cluster) {}))
	in.tasks(t, 6)
	settled := int64(0)
	for _, o := range s.all {
		if o.Amount > 0 {
			settled++
		}
	}
	require.Eventually(t, func() bool {
		ends, err := adm.ListCommittedOffsets(t.Context(), "updates")
		n := int64(0)
		ends.Each(func(o kadm.ListedOffset) { n += o.Offset })
		return err == nil && n > settled
	}, patience, 100*time.Millisecond, "every settled order updates its window's total, and then the transaction ends")
	in.stop(t)
}

// setting reads one of the script's settings, which it writes as shell assignments.
func setting(t *testing.T, file []byte, name string) string {
	t.Helper()
	m := regexp.MustCompile(fmt.Sprintf(`(?m)^%s='?([^'\n]*)'?$`, name)).FindSubmatch(file)
	require.NotNil(t, m, "%s in the broker's settings", name)
	return string(m[1])
}
