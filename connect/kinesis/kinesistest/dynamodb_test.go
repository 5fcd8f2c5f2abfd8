package kinesistest_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/millstream-go/millstream/connect/kinesis/kinesistest"
)

// db is a table "t" with key "k" and index "by-owner" over ("owner", "k"), and the real client, which tries nothing twice.
type db struct {
	*testing.T
	*dynamodb.Client
	table string
}

func client(url string, t http.RoundTripper) *dynamodb.Client {
	return dynamodb.New(dynamodb.Options{Region: "us-east-1", BaseEndpoint: aws.String(url), RetryMaxAttempts: 1, Credentials: credentials.NewStaticCredentialsProvider("any", "any", ""),
		HTTPClient: &http.Client{Transport: plainBodies{t}}})
}

// plainBodies hides that the bodies of requests have WriteTo. The SDK closes a body when the head of the answer is there,
// and WriteTo of a closed one returns io.EOF, which net/http, when it looks whether the body goes on, takes for a failed
// write: it closes the connection, and the rest of the answer is lost. A client that tries again doesn't notice.
type plainBodies struct{ http.RoundTripper }

func (p plainBodies) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		r = r.Clone(r.Context())
		r.Body = struct{ io.ReadCloser }{r.Body}
	}
	return p.RoundTripper.RoundTrip(r)
}

var create = dynamodb.CreateTableInput{BillingMode: types.BillingModePayPerRequest,
	AttributeDefinitions: []types.AttributeDefinition{{AttributeName: aws.String("k"), AttributeType: types.ScalarAttributeTypeS}, {AttributeName: aws.String("owner"), AttributeType: types.ScalarAttributeTypeS}},
	KeySchema:            []types.KeySchemaElement{{AttributeName: aws.String("k"), KeyType: types.KeyTypeHash}},
	GlobalSecondaryIndexes: []types.GlobalSecondaryIndex{{IndexName: aws.String("by-owner"), Projection: &types.Projection{ProjectionType: types.ProjectionTypeKeysOnly},
		KeySchema: []types.KeySchemaElement{{AttributeName: aws.String("owner"), KeyType: types.KeyTypeHash}, {AttributeName: aws.String("k"), KeyType: types.KeyTypeRange}}}}}

func (d *db) create() {
	in := create
	in.TableName = aws.String(d.table)
	_, err := d.CreateTable(d.Context(), &in)
	require.NoError(d, err)
}

// everywhere runs a test on the service for tests, and on the DynamoDB whose address DYNAMODB_ENDPOINT has, if it has
// one (scripts/kinesis.sh starts one), so that both are known to do the same.
func everywhere(t *testing.T, test func(*db)) {
	t.Run("fake", func(t *testing.T) {
		s, err := kinesistest.Start(kinesistest.Options{})
		require.NoError(t, err)
		t.Cleanup(s.Close)
		d := &db{t, client(s.URL(), http.DefaultTransport), "t"}
		d.create()
		test(d)
	})
	t.Run("server", func(t *testing.T) {
		url := os.Getenv("DYNAMODB_ENDPOINT")
		if url == "" {
			t.Skip("DYNAMODB_ENDPOINT is not set")
		}
		d := &db{t, client(url, http.DefaultTransport), fmt.Sprintf("t-%d", time.Now().UnixNano())}
		d.create()
		t.Cleanup(func() {
			_, _ = d.DeleteTable(context.Background(), &dynamodb.DeleteTableInput{TableName: aws.String(d.table)})
		})
		test(d)
	})
}

// it makes an item of name, value, name, value; ints are numbers, []string are sets.
func it(pairs ...any) map[string]types.AttributeValue {
	m := map[string]types.AttributeValue{}
	for i := 0; i < len(pairs); i += 2 {
		name := pairs[i].(string)
		switch v := pairs[i+1].(type) {
		case string:
			m[name] = &types.AttributeValueMemberS{Value: v}
		case int:
			m[name] = &types.AttributeValueMemberN{Value: fmt.Sprint(v)}
		case []string:
			m[name] = &types.AttributeValueMemberSS{Value: v}
		case types.AttributeValue:
			m[name] = v
		}
	}
	return m
}

func (d *db) put(pairs ...any) {
	_, err := d.PutItem(d.Context(), &dynamodb.PutItemInput{TableName: &d.table, Item: it(pairs...)})
	require.NoError(d, err)
}

func (d *db) get(key string) map[string]types.AttributeValue {
	out, err := d.GetItem(d.Context(), &dynamodb.GetItemInput{TableName: &d.table, Key: it("k", key), ConsistentRead: aws.Bool(true)})
	require.NoError(d, err)
	return out.Item
}

// update updates item "a" and returns all that it has now. Words with : are values, those that the expressions mention.
func (d *db) update(update, condition string, values map[string]types.AttributeValue) (map[string]types.AttributeValue, error) {
	in := &dynamodb.UpdateItemInput{TableName: &d.table, Key: it("k", "a"), UpdateExpression: &update, ReturnValues: types.ReturnValueAllNew,
		ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld}
	if len(values) > 0 {
		in.ExpressionAttributeValues = values
	}
	if condition != "" {
		in.ConditionExpression = &condition
	}
	if strings.Contains(update+condition, "#o") {
		in.ExpressionAttributeNames = map[string]string{"#o": "owner"}
	}
	out, err := d.UpdateItem(d.Context(), in)
	if err != nil {
		return nil, err
	}
	return out.Attributes, nil
}

func TestItems(t *testing.T) {
	everywhere(t, func(d *db) {
		assert.Nil(d, d.get("a"))
		full := it("k", "a", "owner", "w", "n", 7, "set", []string{"x", "y"}, "map", &types.AttributeValueMemberM{Value: it("l", &types.AttributeValueMemberL{Value: []types.AttributeValue{}})},
			"yes", &types.AttributeValueMemberBOOL{Value: true}, "bytes", &types.AttributeValueMemberB{Value: []byte{0, 1}})
		_, err := d.PutItem(d.Context(), &dynamodb.PutItemInput{TableName: &d.table, Item: full})
		require.NoError(d, err)
		assert.Equal(d, full, d.get("a"))

		none := "attribute_not_exists(k)"
		_, err = d.PutItem(d.Context(), &dynamodb.PutItemInput{TableName: &d.table, Item: it("k", "a"), ConditionExpression: &none, ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld})
		var miss *types.ConditionalCheckFailedException
		require.ErrorAs(d, err, &miss)
		assert.Equal(d, full, miss.Item)

		got, err := d.update("SET n = n + :1, #o = :o, more = if_not_exists(more, :1) REMOVE yes, nothing ADD tally :5, #s :z DELETE x :z",
			"", it(":1", 1, ":o", "v", ":5", 5, ":z", []string{"z"}))
		require.Error(d, err, "#s is not given")
		require.Nil(d, got)
		got, err = d.update("SET n = n + :1, #o = :o, more = if_not_exists(more, :1) REMOVE yes, nothing ADD tally :5 DELETE xset :z",
			"", it(":1", 1, ":o", "v", ":5", 5, ":z", []string{"z"}))
		require.NoError(d, err)
		delete(full, "yes")
		full["n"], full["owner"], full["more"], full["tally"] = it("", 8)[""], it("", "v")[""], it("", 1)[""], it("", 5)[""]
		assert.Equal(d, full, got)
		assert.Equal(d, full, d.get("a"))

		out, err := d.DeleteItem(d.Context(), &dynamodb.DeleteItemInput{TableName: &d.table, Key: it("k", "a"), ReturnValues: types.ReturnValueAllOld})
		require.NoError(d, err)
		assert.Equal(d, full, out.Attributes)
		assert.Nil(d, d.get("a"))
		got, err = d.update("SET #o = :o", "", it(":o", "made"))
		require.NoError(d, err)
		assert.Equal(d, it("k", "a", "owner", "made"), got, "an update makes what is missing")
	})
}

func TestConditions(t *testing.T) {
	everywhere(t, func(d *db) {
		d.put("k", "a", "owner", "w", "n", 7)
		for condition, want := range map[string]bool{
			"n = :7": true, "n = :8": false, "n <> :8": true, "n < :8": true, "n <= :7": true, "n > :7": false, "n >= :7": true,
			"#o = :w":                        true,
			"absent = :7":                    false,
			"absent <> :7":                   true,
			"n = :8 OR #o = :w":              true,
			"n = :8 AND #o = :w":             false,
			"NOT n = :8":                     true,
			"n = :7 OR n = :8 AND #o = :8":   true,
			"(n = :7 OR n = :8) AND #o = :8": false,
			"attribute_exists(n) AND attribute_not_exists(m)":                          true,
			"n = :7 AND (m = :w OR (attribute_not_exists(m) AND #o = :w))":             true,
			"n = :7 and (m = :w or (attribute_not_exists(m) and attribute_exists(m)))": false,
			"begins_with(#o, :w)": true,
		} {
			values := it(":same", 7)
			for _, v := range []string{":7", ":8", ":w"} {
				if strings.Contains(condition, v) {
					values[v] = map[string]types.AttributeValue{":7": it("", 7)[""], ":8": it("", 8)[""], ":w": it("", "w")[""]}[v]
				}
			}
			_, err := d.update("SET n = :same", condition, values)
			var miss *types.ConditionalCheckFailedException
			if want {
				assert.NoError(d, err, condition)
			} else if assert.ErrorAs(d, err, &miss, condition) {
				assert.Equal(d, it("k", "a", "owner", "w", "n", 7), miss.Item)
			}
		}
		for _, wrong := range [][2]string{{"SET n = :v", "n ="}, {"SET n = :v", "(n = :v"}, {"SET n = :v", "n = :v n"}, {"SET n = :v", "n = :none"}, {"SET m = nothing + :v", ""},
			{"SET n = :v, n = :v", ""}, {"MAKE n = :v", ""}, {"SET owner = :v", ""}, {"REMOVE n", "size(n) = :unused"}, {"SET k = :v", ""}, {"REMOVE n", ""}} {
			_, err := d.update(wrong[0], wrong[1], it(":v", 1))
			require.Error(d, err, "%v", wrong)
			var e smithy.APIError
			if d.table == "t" { // a server for tests that is no copy of the service breaks down over some of them
				require.ErrorAs(d, err, &e, "%v", wrong)
				assert.Equal(d, "ValidationException", e.ErrorCode(), "%v", wrong)
			}
		}
		assert.Equal(d, it("k", "a", "owner", "w", "n", 7), d.get("a"), "what is refused changes nothing")
	})
}

// Of many writes that expect the same, one is done.
func TestRace(t *testing.T) {
	everywhere(t, func(d *db) {
		d.put("k", "a", "n", 0)
		var wait sync.WaitGroup
		results := make([]error, 20)
		for i := range results {
			wait.Go(func() {
				_, results[i] = d.update("SET n = :n, w = :w", "n = :0", it(":0", 0, ":n", 1, ":w", i))
			})
		}
		wait.Wait()
		won := 0
		for i, err := range results {
			if err == nil {
				won++
				assert.Equal(d, it("", i)[""], d.get("a")["w"])
			}
		}
		assert.Equal(d, 1, won)
	})
}

func TestPages(t *testing.T) {
	everywhere(t, func(d *db) {
		for i := range 23 {
			d.put("k", fmt.Sprintf("k%02d", i), "owner", fmt.Sprintf("w%d", i%2), "n", i)
		}
		d.put("k", "nobody's")
		keys := func(items []map[string]types.AttributeValue) (list []string) {
			for _, m := range items {
				list = append(list, m["k"].(*types.AttributeValueMemberS).Value)
			}
			return list
		}
		var all []string
		pages := 0
		for p := dynamodb.NewScanPaginator(d.Client, &dynamodb.ScanInput{TableName: &d.table, Limit: aws.Int32(7), FilterExpression: aws.String("attribute_exists(n) AND n < :x"), ExpressionAttributeValues: it(":x", 20)}); p.HasMorePages(); pages++ {
			out, err := p.NextPage(d.Context())
			require.NoError(d, err)
			all = append(all, keys(out.Items)...)
		}
		assert.Len(d, all, 20)
		assert.Equal(d, 4, pages, "24 items, 7 a page, whatever the filter leaves")
		all = nil
		for p := dynamodb.NewQueryPaginator(d.Client, &dynamodb.QueryInput{TableName: &d.table, IndexName: aws.String("by-owner"), Limit: aws.Int32(5), KeyConditionExpression: aws.String("#o = :w"),
			ExpressionAttributeNames: map[string]string{"#o": "owner"}, ExpressionAttributeValues: it(":w", "w1")}); p.HasMorePages(); {
			out, err := p.NextPage(d.Context())
			require.NoError(d, err)
			all = append(all, keys(out.Items)...)
			for _, m := range out.Items {
				assert.Len(d, m, 2, "keys only")
			}
		}
		require.Len(d, all, 11)
		assert.Equal(d, []string{"k01", "k21"}, []string{all[0], all[10]}, "in order")
	})
}

// What the service for tests does not do is refused.
func TestUnsupported(t *testing.T) {
	s, err := kinesistest.Start(kinesistest.Options{})
	require.NoError(t, err)
	t.Cleanup(s.Close)
	d := &db{t, client(s.URL(), http.DefaultTransport), "t"}
	d.create()
	d.put("k", "a", "n", 1)
	for what, call := range map[string]func() error{
		"old conditions": func() error {
			_, err := d.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: &d.table, Item: it("k", "a"), Expected: map[string]types.ExpectedAttributeValue{"k": {Exists: aws.Bool(false)}}})
			return err
		},
		"projections": func() error {
			_, err := d.Scan(t.Context(), &dynamodb.ScanInput{TableName: &d.table, ProjectionExpression: aws.String("k")})
			return err
		},
		"functions": func() error {
			_, err := d.update("SET n = :n", "contains(n, :n)", it(":n", 1))
			return err
		},
		"paths": func() error {
			_, err := d.update("SET n.m = :n", "", it(":n", 1))
			return err
		},
		"actions": func() error {
			_, err := d.ListTables(t.Context(), &dynamodb.ListTablesInput{})
			return err
		},
		"values not used": func() error {
			_, err := d.Scan(t.Context(), &dynamodb.ScanInput{TableName: &d.table, ExpressionAttributeValues: it(":x", 1)})
			return err
		},
	} {
		require.Error(t, call(), what)
	}
	assert.Equal(t, it("k", "a", "n", 1), d.get("a"))
}

func TestTable(t *testing.T) {
	clock := &clock{}
	s, err := kinesistest.Start(kinesistest.Options{Now: clock.now, Creating: time.Second, Lag: time.Second})
	require.NoError(t, err)
	t.Cleanup(s.Close)
	d := &db{t, client(s.URL(), http.DefaultTransport), "t"}
	status := func() string {
		out, err := d.DescribeTable(t.Context(), &dynamodb.DescribeTableInput{TableName: &d.table})
		var missing *types.ResourceNotFoundException
		if errors.As(err, &missing) {
			return "missing"
		}
		require.NoError(t, err)
		return string(out.Table.TableStatus)
	}
	assert.Equal(t, "missing", status())
	d.create()
	assert.Equal(t, "CREATING", status())
	var missing *types.ResourceNotFoundException
	_, err = d.update("SET n = :n", "", it(":n", 1))
	require.ErrorAs(t, err, &missing)
	clock.pass(time.Second)
	assert.Equal(t, "ACTIVE", status())
	d.put("k", "a", "owner", "w")
	clock.pass(time.Second)
	d.put("k", "a", "owner", "v")
	owned := func(w string) int32 {
		out, err := d.Query(t.Context(), &dynamodb.QueryInput{TableName: &d.table, IndexName: aws.String("by-owner"), KeyConditionExpression: aws.String("#o = :w"),
			ExpressionAttributeNames: map[string]string{"#o": "owner"}, ExpressionAttributeValues: it(":w", w)})
		require.NoError(t, err)
		return out.Count
	}
	assert.Equal(t, []int32{1, 0}, []int32{owned("w"), owned("v")}, "an index lags")
	assert.Equal(t, it("k", "a", "owner", "v"), d.get("a"), "a consistent read does not")
	clock.pass(time.Second)
	assert.Equal(t, []int32{0, 1}, []int32{owned("w"), owned("v")})
	in := create
	in.TableName = &d.table
	var exists *types.ResourceInUseException
	_, err = d.CreateTable(t.Context(), &in)
	require.ErrorAs(t, err, &exists)
}

// Faults, inside a bubble, where the client calls without a connection.
func TestTableFaults(t *testing.T) {
	s, err := kinesistest.Start(kinesistest.Options{})
	require.NoError(t, err)
	t.Cleanup(s.Close)
	synctest.Test(t, func(t *testing.T) {
		d := &db{t, client(s.URL(), s.HTTPClient().Transport), "t"}
		d.create()
		d.put("k", "a", "n", 1)
		s.Fault(kinesistest.Fault{Action: "UpdateItem", Shard: "b", Error: "InternalServerError"})
		s.Fault(kinesistest.Fault{Action: "UpdateItem", Shard: "a", Error: "ThrottlingException"})
		s.Fault(kinesistest.Fault{Action: "UpdateItem", Error: "ConditionalCheckFailedException"})
		s.Fault(kinesistest.Fault{Action: "UpdateItem", LoseAnswer: true})
		_, err := d.update("SET n = n + :n", "", it(":n", 1))
		var slow *types.ThrottlingException
		require.ErrorAs(t, err, &slow)
		_, err = d.update("SET n = n + :n", "", it(":n", 1))
		var miss *types.ConditionalCheckFailedException
		require.ErrorAs(t, err, &miss)
		assert.Equal(t, it("k", "a", "n", 1), d.get("a"))
		_, err = d.update("SET n = n + :n", "", it(":n", 1))
		require.Error(t, err)
		assert.Equal(t, it("k", "a", "n", 2), d.get("a"), "done, and not answered")
		assert.Equal(t, 1, s.Pending(), "that of another item")

		s.Fault(kinesistest.Fault{Action: "GetItem", Delay: time.Hour, Times: 2})
		begun := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err = d.GetItem(ctx, &dynamodb.GetItemInput{TableName: &d.table, Key: it("k", "a")})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, time.Minute, time.Since(begun))
		assert.Equal(t, it("k", "a", "n", 2), d.get("a"))
		assert.Equal(t, time.Hour+time.Minute, time.Since(begun), "late, but answered")
		assert.Equal(t, 3, s.Calls()["UpdateItem"])
	})
}
