package kafka

import (
	"context"
	"fmt"
	"log/slog"
	"strings"

	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/aws"
	"github.com/twmb/franz-go/pkg/sasl/oauth"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

// Plain identifies by user and password, which the broker sees in clear.
func Plain(user, password string) sasl.Mechanism {
	return redacted{plain.Auth{User: user, Pass: password}.AsMechanism()}
}

// ScramSHA256 identifies by user and password without showing the password to the broker.
func ScramSHA256(user, password string) sasl.Mechanism {
	return redacted{scram.Auth{User: user, Pass: password}.AsSha256Mechanism()}
}

// ScramSHA512 identifies by user and password without showing the password to the broker.
func ScramSHA512(user, password string) sasl.Mechanism {
	return redacted{scram.Auth{User: user, Pass: password}.AsSha512Mechanism()}
}

// OAuthBearer identifies by a token (RFC 7628). token is called at each connection and when the broker asks again, from
// several goroutines; it should cache.
func OAuthBearer(token func(ctx context.Context) (string, error)) sasl.Mechanism {
	return redacted{oauth.Oauth(func(ctx context.Context) (oauth.Auth, error) {
		t, err := token(ctx)
		if err != nil {
			return oauth.Auth{}, fmt.Errorf("get an OAuth token: %w", err)
		}
		return oauth.Auth{Token: t}, nil
	})}
}

// AWSMSKIAM identifies to Amazon MSK by AWS credentials: an access key, its secret and, for temporary credentials, a
// session token. credentials is called at each connection, from several goroutines; it should cache.
func AWSMSKIAM(credentials func(ctx context.Context) (access, secret, session string, err error)) sasl.Mechanism {
	return redacted{aws.ManagedStreamingIAM(func(ctx context.Context) (aws.Auth, error) {
		access, secret, session, err := credentials(ctx)
		if err != nil {
			return aws.Auth{}, fmt.Errorf("get AWS credentials: %w", err)
		}
		return aws.Auth{AccessKey: access, SecretKey: secret, SessionToken: session}, nil
	})}
}

// redacted is a mechanism that shows only its name.
type redacted struct{ sasl.Mechanism }

func (r redacted) String() string               { return "SASL " + r.Name() + " [redacted]" }
func (r redacted) Format(f fmt.State, _ rune)   { _, _ = f.Write([]byte(r.String())) }
func (r redacted) GoString() string             { return r.String() }
func (r redacted) LogValue() slog.Value         { return slog.StringValue(r.String()) }
func (r redacted) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// sendsSecrets says whether one who reads the connection learns something that lets him in: a password, a token, or a
// hash to try passwords against.
func sendsSecrets(m sasl.Mechanism) bool {
	n := m.Name()
	return n == "PLAIN" || n == "OAUTHBEARER" || strings.HasPrefix(n, "SCRAM-")
}
