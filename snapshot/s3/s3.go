// Package s3 keeps snapshots in a bucket of S3, or of a server that speaks its protocol (MinIO, Ceph, R2, and others):
//
//	client, err := minio.New("s3.eu-central-1.amazonaws.com", &minio.Options{Creds: credentials.NewIAM(""), Secure: true})
//	stream.Config{ … Snapshots: snapshot.Config{Store: s3.New(client, "bucket"), Prefix: "prod/"}}
//
// The server must know conditional writes (If-None-Match: *), as S3 does since 2024; Check finds out. What the application
// needs to be allowed, on the bucket and below the prefix: s3:ListBucket, s3:GetObject, s3:PutObject, s3:DeleteObject.
// Encryption at the server (SSE-S3, SSE-KMS) is set on the bucket.
package s3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/minio/minio-go/v7"

	"github.com/millstream-go/millstream/snapshot"
)

// Bucket is a snapshot.Store in a bucket that exists.
type Bucket struct {
	client *minio.Client
	name   string
}

var _ snapshot.Store = (*Bucket)(nil)

// New returns the store in a bucket. The client brings endpoint, region and credentials, and is the program's.
func New(client *minio.Client, bucket string) *Bucket { return &Bucket{client, bucket} }

// maxObject is the most that one write can hold.
const maxObject = 5 << 30

// Create implements snapshot.Store, by one conditional write.
func (b *Bucket) Create(ctx context.Context, name string, body io.ReadSeeker, size int64) error {
	if size > maxObject {
		return fmt.Errorf("s3: create %s in bucket %s: %d bytes are more than one write can hold (5 GiB)", name, b.name, size)
	}
	o := minio.PutObjectOptions{ContentType: "application/octet-stream", DisableMultipart: true}
	o.SetMatchETagExcept("*")
	_, err := b.client.PutObject(ctx, b.name, name, body, size, o)
	return b.explain("create", name, err)
}

// Open implements snapshot.Store.
func (b *Bucket) Open(ctx context.Context, name string) (io.ReadCloser, error) {
	o, err := b.client.GetObject(ctx, b.name, name, minio.GetObjectOptions{})
	if err != nil {
		return nil, b.explain("open", name, err)
	}
	if _, err := o.Stat(); err != nil { // only now is anything asked
		return nil, errors.Join(b.explain("open", name, err), o.Close())
	}
	return o, nil
}

// List implements snapshot.Store.
func (b *Bucket) List(ctx context.Context, prefix string) (list []snapshot.Object, err error) {
	ctx, cancel := context.WithCancel(ctx) // ends the listing's goroutine
	defer cancel()
	for o := range b.client.ListObjects(ctx, b.name, minio.ListObjectsOptions{Prefix: prefix, Recursive: true}) {
		if o.Err != nil {
			return nil, b.explain("list", prefix, o.Err)
		}
		if !strings.HasSuffix(o.Key, "/") {
			list = append(list, snapshot.Object{Name: o.Key, Size: o.Size})
		}
	}
	return list, ctx.Err()
}

// Delete implements snapshot.Store.
func (b *Bucket) Delete(ctx context.Context, name string) error {
	return b.explain("delete", name, b.client.RemoveObject(ctx, b.name, name, minio.RemoveObjectOptions{}))
}

// Check finds out whether the bucket is there and knows conditional writes: it creates an object twice, which must fail,
// and deletes it. Call it once where snapshots are set up.
func (b *Bucket) Check(ctx context.Context, prefix string) error {
	name := prefix + "millstream-check"
	if err := b.Delete(ctx, name); err != nil {
		return err
	}
	if err := b.Create(ctx, name, strings.NewReader("1"), 1); err != nil {
		return err
	}
	err := b.Create(ctx, name, strings.NewReader("2"), 1)
	if err == nil {
		err = fmt.Errorf("s3: bucket %s: the server wrote over an object although it was asked not to (If-None-Match: *): use one that knows conditional writes", b.name)
	} else if errors.Is(err, snapshot.ErrExists) {
		err = nil
	}
	return errors.Join(err, b.Delete(ctx, name))
}

func (b *Bucket) explain(what, name string, err error) error {
	if err == nil {
		return nil
	}
	kind := err
	switch r := minio.ToErrorResponse(err); {
	case what == "create" && (r.StatusCode == http.StatusPreconditionFailed || r.Code == minio.PreconditionFailed || r.StatusCode == http.StatusConflict):
		kind = errors.Join(snapshot.ErrExists, err)
	case r.Code == minio.NoSuchKey:
		kind = errors.Join(snapshot.ErrNotFound, err)
	case r.Code == minio.NoSuchBucket:
		kind = fmt.Errorf("the bucket does not exist: make it, or name another: %w", err)
	case r.StatusCode == http.StatusForbidden:
		kind = fmt.Errorf("not allowed: the application needs s3:ListBucket, s3:GetObject, s3:PutObject and s3:DeleteObject: %w", err)
	}
	return fmt.Errorf("s3: %s %s in bucket %s: %w", what, name, b.name, kind)
}
