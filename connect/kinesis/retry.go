package kinesis

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	api "github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/smithy-go"

	"github.com/millstream-go/millstream/connect"
)

// Backoff with full jitter: a random time up to a bound that doubles
// (https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/).
type backoff struct{ tries int }

const (
	firstWait = 50 * time.Millisecond
	longWait  = 10 * time.Second
	sayAfter  = 6 // tries, some seconds
)

func (b *backoff) wait(ctx context.Context) {
	sleep(ctx, jitter(b.tries))
	b.tries++
}

// jitter is how long to wait after so many tries that have failed.
func jitter(tries int) time.Duration {
	return rand.N(min(firstWait<<min(tries, 20), longWait)) + time.Millisecond
}

// sleep waits, or less if ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// once switches off the client's own retries: ours know about order, deadlines and counting.
func once(o *api.Options) { o.Retryer = aws.NopRetryer{} }

// code is the name of an error of the service; "" if it is none, such as a lost connection.
func code(err error) string {
	var e smithy.APIError
	if errors.As(err, &e) {
		return e.ErrorCode()
	}
	return ""
}

// throttled says that the service refused for the rate.
func throttled(code string) bool {
	switch code {
	case "ProvisionedThroughputExceededException", "LimitExceededException", "KMSThrottlingException", "ThrottlingException":
		return true
	}
	return false
}

// hopeless are errors that a person has to mend first, and what is to be done.
var hopeless = map[string]string{
	"AccessDeniedException":       "the credentials lack a right; docs/guarantees.md lists those that are needed",
	"UnrecognizedClientException": "the credentials are not known",
	"InvalidSignatureException":   "the credentials do not fit, or the clock is wrong",
	"ExpiredTokenException":       "the credentials have expired and the client does not renew them",
	"ResourceNotFoundException":   "there is no such stream or shard",
	"InvalidArgumentException":    "the service does not accept the request",
	"ValidationException":         "the service does not accept the request",
	"KMSAccessDeniedException":    "the credentials lack a right to the stream's KMS key",
	"KMSDisabledException":        "the stream's KMS key is disabled",
	"KMSNotFoundException":        "the stream's KMS key does not exist",
	"KMSOptInRequired":            "the account has no KMS",
}

// fatal wraps an error that trying again would not mend; nil for others.
func fatal(what string, err error) error {
	if advice, ok := hopeless[code(err)]; ok {
		return fmt.Errorf("%s: %s: %w: %w", what, advice, connect.ErrStop, err)
	}
	return nil
}

// call calls the service until it answers: each time with a deadline, after a failure with a wait. It gives up when ctx
// ends, or with an error that wraps connect.ErrStop.
func call[O any](ctx context.Context, c *Streams, what, stream, shard string, f func(context.Context) (O, error)) (out O, err error) {
	var b backoff
	var last error
	for {
		limited, cancel := context.WithTimeout(ctx, c.CallTimeout)
		out, err = f(limited)
		cancel()
		if err == nil {
			return out, nil
		}
		if ctx.Err() != nil {
			return out, errors.Join(fmt.Errorf("%s: %w", what, ctx.Err()), last)
		}
		last = err
		if code(err) == "ExpiredIteratorException" {
			return out, err
		}
		if e := fatal(what, err); e != nil {
			return out, e
		}
		c.tell(err, stream, shard)
		if b.tries >= sayAfter {
			c.log.Warn("Kinesis does not do what it is asked; trying again", "what", what, "stream", stream, "shard", shard, "tries", b.tries+1, "err", err)
		}
		b.wait(ctx)
	}
}

func (s *Streams) tell(err error, stream, shard string) {
	e := Event{What: Retried, Stream: stream, Shard: shard, N: 1, Err: err}
	if throttled(code(err)) {
		e.What = Throttled
	}
	s.Observe(e)
}
