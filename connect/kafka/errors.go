package kafka

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millstream-go/millstream/connect"
)

// explainDial says in plain words why no broker could be talked to.
func explainDial(c Cluster, err error) error {
	at := strings.Join(c.Brokers, ", ")
	var (
		authority x509.UnknownAuthorityError
		host      x509.HostnameError
		invalid   x509.CertificateInvalidError
		record    tls.RecordHeaderError
		dns       *net.DNSError
		alert     tls.AlertError
	)
	switch {
	case isAuthentication(err):
		return fmt.Errorf("kafka: the brokers at %s refused the credentials (SASL %s): check user and password, and that this user exists for this mechanism: %w",
			at, saslName(c), err)
	case errors.As(err, &authority):
		return fmt.Errorf("kafka: the certificate of the brokers at %s is signed by an unknown authority: put the authority's certificate into TLS.RootCAs: %w", at, err)
	case errors.As(err, &host):
		return fmt.Errorf("kafka: the brokers at %s have a certificate for another name: use the name in the certificate in Brokers and advertised.listeners, or set TLS.ServerName: %w", at, err)
	case errors.As(err, &invalid):
		return fmt.Errorf("kafka: the certificate of the brokers at %s is not valid: %w", at, err)
	case errors.As(err, &alert):
		return fmt.Errorf("kafka: the brokers at %s refused the TLS connection: they may ask for a client certificate (TLS.Certificates): %w", at, err)
	case errors.As(err, &record):
		return fmt.Errorf("kafka: the listener at %s does not speak TLS: remove TLS, or use the address of a TLS listener: %w", at, err)
	case errors.As(err, &dns):
		return fmt.Errorf("kafka: no address found for broker %q: check the name: %w", dns.Name, err)
	case isFirstRead(err), strings.Contains(err.Error(), "tls alert record"): // the client has no error value for it
		return fmt.Errorf("kafka: the brokers at %s do not go on with the connection: the listener probably wants TLS or SASL, and the configuration has %s: %w", at, securityOf(c), err)
	case c.SASL != nil && errors.Is(err, io.EOF):
		return fmt.Errorf("kafka: the brokers at %s closed the connection instead of accepting the credentials (SASL %s): check user and password, and that this user exists for this mechanism: %w",
			at, saslName(c), err)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("kafka: no broker answered at %s within %v: check the addresses, the brokers, and what lies between (firewall, TLS): %w", at, c.dialTimeout(), err)
	}
	return fmt.Errorf("kafka: no broker could be reached at %s: check the addresses and that the brokers run: %w", at, err)
}

func isAuthentication(err error) bool {
	return errors.Is(err, kerr.SaslAuthenticationFailed) || errors.Is(err, kerr.UnsupportedSaslMechanism) ||
		errors.Is(err, kerr.IllegalSaslState)
}

func isFirstRead(err error) bool {
	var first *kgo.ErrFirstReadEOF
	return errors.As(err, &first)
}

func saslName(c Cluster) string {
	if c.SASL == nil {
		return "none"
	}
	return c.SASL.Name()
}

func securityOf(c Cluster) string {
	s := "no TLS"
	if c.TLS != nil {
		s = "TLS"
	}
	if c.SASL == nil {
		return s + " and no SASL"
	}
	return s + " and SASL " + c.SASL.Name()
}

// acl tells a missing permission from other errors and names the one to grant, or returns nil.
func acl(err error, app connect.App) error {
	switch {
	case errors.Is(err, kerr.TopicAuthorizationFailed):
		return fmt.Errorf("kafka: not allowed to use a topic: sources need READ and DESCRIBE, sinks WRITE and DESCRIBE, internal topics (%s-*) also CREATE, DELETE, DESCRIBE_CONFIGS: %w", app.ID, err)
	case errors.Is(err, kerr.GroupAuthorizationFailed):
		return fmt.Errorf("kafka: not allowed to use the consumer group %q: it needs READ and DESCRIBE: %w", app.ID, err)
	case errors.Is(err, kerr.TransactionalIDAuthorizationFailed):
		return fmt.Errorf("kafka: not allowed to use the transactional id %q: it needs WRITE and DESCRIBE (as a prefixed ACL on %q): %w", transactionalID(app), app.ID+"-", err)
	case errors.Is(err, kerr.ClusterAuthorizationFailed):
		return fmt.Errorf("kafka: not allowed to create topics or write: the cluster needs IDEMPOTENT_WRITE, and CREATE if the internal topics are not there yet: %w", err)
	}
	return nil
}

// fencing says whether err means that another instance has taken our place in the group or our transactional id.
func fencing(err error) bool {
	return errors.Is(err, kerr.FencedInstanceID) || errors.Is(err, kerr.UnknownMemberID) ||
		errors.Is(err, kerr.InvalidProducerEpoch) || errors.Is(err, kerr.ProducerFenced) ||
		errors.Is(err, kerr.InvalidProducerIDMapping)
}
