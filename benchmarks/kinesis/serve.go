package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	api "github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"

	"github.com/millstream-go/millstream/connect/kinesis/kinesistest"
)

// serve fills a stream with records that hold the numbers from 0 on, and serves it until in ends.
func serve(ctx context.Context, records int64, shards int, in io.Reader, out io.Writer) error {
	s, err := kinesistest.Start(kinesistest.Options{})
	if err != nil {
		return err
	}
	defer s.Close()
	s.CreateStream(streamName, shards)
	s.CreateStream(streamName+"-out", 1)
	c := api.New(api.Options{Region: "local", BaseEndpoint: aws.String(s.URL()), HTTPClient: s.HTTPClient(), Credentials: credentials.NewStaticCredentialsProvider("any", "any", "")})
	var batch []types.PutRecordsRequestEntry
	for i := range records {
		data := binary.BigEndian.AppendUint64(make([]byte, 0, recordSize), uint64(i))
		batch = append(batch, types.PutRecordsRequestEntry{PartitionKey: aws.String("user-" + strconv.FormatInt(i%10_000, 10)), Data: data[:recordSize]})
		if len(batch) < 500 && i < records-1 {
			continue
		}
		answer, err := c.PutRecords(ctx, &api.PutRecordsInput{StreamName: aws.String(streamName), Records: batch})
		if err != nil {
			return fmt.Errorf("fill the stream: %w", err)
		}
		if *answer.FailedRecordCount > 0 {
			return errors.New("fill the stream: records were refused")
		}
		batch = batch[:0]
	}
	fmt.Fprintln(out, s.URL())
	_, err = io.Copy(io.Discard, in)
	return err
}
