package lease

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go"

	"github.com/millstream-go/millstream/connect/kinesis"
)

// table is the leases of one stream: a table, or the rows of one whose keys begin with a prefix (shared.go). Each call to it ends
// after patience.
type table struct {
	client   *dynamodb.Client
	name     string
	prefix   string
	indexed  bool // the table has the index by owner; those that version 2 of the library made have not
	patience time.Duration
	logger   *slog.Logger
}

func (t *table) call(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, t.patience)
}

func (t *table) wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("lease table %s: %s: %w", t.name, what, err)
}

// hopeless says that an error will not go away by itself: the table is gone, or the caller may not use it.
func hopeless(err error) bool {
	var e smithy.APIError
	if !errors.As(err, &e) {
		return false
	}
	switch e.ErrorCode() {
	case "AccessDeniedException", "UnrecognizedClientException", "ResourceNotFoundException", "ValidationException", "MissingAuthenticationToken", "InvalidSignatureException":
		return true
	}
	return false
}

// open makes the table where there is none, and waits until it can be used.
func (t *table) open(ctx context.Context) error {
	for {
		active, err := t.describe(ctx)
		var missing *types.ResourceNotFoundException
		switch {
		case errors.As(err, &missing):
			if err := t.create(ctx); err != nil {
				return t.wrap("create", err)
			}
			continue
		case err != nil && hopeless(err):
			return t.wrap("describe", err)
		case err == nil && active:
			return nil
		}
		if err != nil {
			t.logger.Warn("cannot describe the lease table; trying again", "table", t.name, "error", err)
		}
		if err := pause(ctx, t.patience/10); err != nil {
			return t.wrap("wait until it is made", err)
		}
	}
}

// pause waits.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

func (t *table) describe(ctx context.Context) (active bool, err error) {
	ctx, cancel := t.call(ctx)
	defer cancel()
	out, err := t.client.DescribeTable(ctx, &dynamodb.DescribeTableInput{TableName: &t.name})
	if err != nil {
		return false, err
	}
	for _, i := range out.Table.GlobalSecondaryIndexes {
		t.indexed = t.indexed || aws.ToString(i.IndexName) == index && i.IndexStatus == types.IndexStatusActive
	}
	return out.Table.TableStatus == types.TableStatusActive || out.Table.TableStatus == types.TableStatusUpdating, nil
}

func (t *table) create(ctx context.Context) error {
	ctx, cancel := t.call(ctx)
	defer cancel()
	element := func(name string, kind types.KeyType) types.KeySchemaElement {
		return types.KeySchemaElement{AttributeName: aws.String(name), KeyType: kind}
	}
	_, err := t.client.CreateTable(ctx, &dynamodb.CreateTableInput{TableName: &t.name, BillingMode: types.BillingModePayPerRequest,
		AttributeDefinitions: []types.AttributeDefinition{{AttributeName: aws.String(attrKey), AttributeType: types.ScalarAttributeTypeS}, {AttributeName: aws.String(attrOwner), AttributeType: types.ScalarAttributeTypeS}},
		KeySchema:            []types.KeySchemaElement{element(attrKey, types.KeyTypeHash)},
		GlobalSecondaryIndexes: []types.GlobalSecondaryIndex{{IndexName: aws.String(index), Projection: &types.Projection{ProjectionType: types.ProjectionTypeKeysOnly},
			KeySchema: []types.KeySchemaElement{element(attrOwner, types.KeyTypeHash), element(attrKey, types.KeyTypeRange)}}}})
	var exists *types.ResourceInUseException
	if errors.As(err, &exists) || err != nil && !hopeless(err) { // another instance makes it, or it may have been made
		return nil
	}
	return err
}

// scan reads all rows. It need not be the newest state: every write says what it expects.
func (t *table) scan(ctx context.Context) (items []item, err error) {
	in := &dynamodb.ScanInput{TableName: &t.name}
	if t.prefix != "" {
		in.FilterExpression = aws.String("begins_with(#k, :prefix)")
		in.ExpressionAttributeNames, in.ExpressionAttributeValues = map[string]string{"#k": attrKey}, item{":prefix": text(t.prefix)}
	}
	for p := dynamodb.NewScanPaginator(t.client, in); p.HasMorePages(); {
		page, err := t.page(ctx, p)
		if err != nil {
			return nil, t.wrap("scan", err)
		}
		for _, it := range page {
			if it, ours := t.inward(it); ours {
				items = append(items, it)
			}
		}
	}
	return items, nil
}

func (t *table) page(ctx context.Context, p *dynamodb.ScanPaginator) ([]item, error) {
	ctx, cancel := t.call(ctx)
	defer cancel()
	out, err := p.NextPage(ctx)
	if err != nil {
		return nil, err
	}
	return out.Items, nil
}

// owned are the keys of the leases that are assigned to an instance. They may be out of date.
func (t *table) owned(ctx context.Context, me string) (keys []string, err error) {
	if !t.indexed {
		items, err := t.scan(ctx)
		for _, it := range items {
			if r, wrong := decode(it); entity(it) == entityLease && wrong == nil && r.owner == me {
				keys = append(keys, r.key)
			}
		}
		return keys, err
	}
	in := &dynamodb.QueryInput{TableName: &t.name, IndexName: aws.String(index), KeyConditionExpression: aws.String("#o = :me"),
		ExpressionAttributeNames: map[string]string{"#o": attrOwner}, ExpressionAttributeValues: item{":me": text(me)}}
	if t.prefix != "" {
		in.KeyConditionExpression = aws.String("#o = :me AND begins_with(#k, :prefix)")
		in.ExpressionAttributeNames["#k"], in.ExpressionAttributeValues[":prefix"] = attrKey, text(t.prefix)
	}
	for p := dynamodb.NewQueryPaginator(t.client, in); p.HasMorePages(); {
		ctx, cancel := t.call(ctx)
		out, err := p.NextPage(ctx)
		cancel()
		if err != nil {
			return nil, t.wrap("query the leases of this instance", err)
		}
		for _, it := range out.Items {
			if k, ok := it[attrKey].(*types.AttributeValueMemberS); ok {
				keys = append(keys, strings.TrimPrefix(k.Value, t.prefix))
			}
		}
	}
	return keys, nil
}

// get reads a row as it is now; nil: there is none.
func (t *table) get(ctx context.Context, key string) (item, error) {
	ctx, cancel := t.call(ctx)
	defer cancel()
	out, err := t.client.GetItem(ctx, &dynamodb.GetItemInput{TableName: &t.name, Key: t.key(key), ConsistentRead: aws.Bool(true)})
	if err != nil {
		return nil, t.wrap("read "+key, err)
	}
	if it, ours := t.inward(out.Item); ours {
		return it, nil
	}
	return nil, nil
}

// lease reads the row of a lease.
func (t *table) lease(ctx context.Context, key string) (r row, found bool, err error) {
	it, err := t.get(ctx, key)
	if err != nil || it == nil {
		return r, false, err
	}
	r, err = decode(it)
	return r, err == nil, t.wrap("read", err)
}

// errMissed: a row is not as an edit expects it.
var errMissed = errors.New("the row has changed meanwhile")

// insert writes a row if there is none with its key. It is no error if there is one.
func (t *table) insert(ctx context.Context, it item) error {
	ctx, cancel := t.call(ctx)
	defer cancel()
	e := &edit{}
	_, err := t.client.PutItem(ctx, &dynamodb.PutItemInput{TableName: &t.name, Item: t.outward(it), ConditionExpression: aws.String(e.absent(attrKey)), ExpressionAttributeNames: e.names})
	var miss *types.ConditionalCheckFailedException
	if errors.As(err, &miss) {
		return nil
	}
	return t.wrap("make a row", err)
}

// replace writes a row whatever is there.
func (t *table) replace(ctx context.Context, it item) error {
	ctx, cancel := t.call(ctx)
	defer cancel()
	_, err := t.client.PutItem(ctx, &dynamodb.PutItemInput{TableName: &t.name, Item: t.outward(it)})
	return t.wrap("write a row", err)
}

// apply does an edit of a row that exists, and returns the row after it. With errMissed it did nothing; with other errors it may or may
// not have been done.
func (t *table) apply(ctx context.Context, key string, e *edit) (row, error) {
	ctx, cancel := t.call(ctx)
	defer cancel()
	in := &dynamodb.UpdateItemInput{TableName: &t.name, Key: t.key(key), ReturnValues: types.ReturnValueAllNew}
	e.require("attribute_exists(" + e.name(attrKey) + ")")
	in.UpdateExpression, in.ConditionExpression = aws.String(e.update()), aws.String(e.condition())
	in.ExpressionAttributeNames, in.ExpressionAttributeValues = e.names, e.values
	out, err := t.client.UpdateItem(ctx, in)
	var miss *types.ConditionalCheckFailedException
	switch {
	case errors.As(err, &miss):
		return row{}, errMissed
	case err != nil:
		return row{}, t.wrap("write "+key, err)
	}
	it, _ := t.inward(out.Attributes)
	r, err := decode(it)
	return r, t.wrap("read", err)
}

// remove deletes a row if a condition holds. It is no error if it does not.
func (t *table) remove(ctx context.Context, key string, e *edit) error {
	ctx, cancel := t.call(ctx)
	defer cancel()
	in := &dynamodb.DeleteItemInput{TableName: &t.name, Key: t.key(key)}
	if c := e.condition(); c != "" {
		in.ConditionExpression, in.ExpressionAttributeNames, in.ExpressionAttributeValues = &c, e.names, e.values
	}
	_, err := t.client.DeleteItem(ctx, in)
	var miss *types.ConditionalCheckFailedException
	if errors.As(err, &miss) {
		return nil
	}
	return t.wrap("delete "+key, err)
}

// hold does an edit of a lease that this instance has until it is known that it was done, and returns the row after it. An error
// that wraps kinesis.ErrLeaseLost says that the lease has another holder.
//
// An answer may be lost, and clients try again by themselves, so that an edit may fail on what itself has written. The row
// then tells. If this instance has the lease and its counter is as before, nothing was done. If it is one higher, an edit of
// this instance was done, this one or one before it that was given up: anybody else's either leaves the counter, or gives the lease to
// somebody else, from whom it could only come back with a counter that is higher still. In both cases the edit is done again
// from there: it says what shall be, not by how much it differs.
func (t *table) hold(ctx context.Context, me string, r row, change func(row) *edit) (row, error) {
	for wait := t.patience / 50; ; wait = min(2*wait, t.patience) {
		after, err := t.apply(ctx, r.key, change(r))
		if err == nil || hopeless(err) {
			return after, err
		}
		if !errors.Is(err, errMissed) {
			t.logger.Debug("a write of a lease was not answered; looking", "table", t.name, "lease", r.key, "error", err)
			if pause(ctx, wait) != nil {
				return r, err
			}
		}
		now, found, wrong := t.lease(ctx, r.key)
		switch {
		case wrong != nil && (ctx.Err() != nil || hopeless(wrong)):
			return r, wrong
		case wrong != nil:
		case found && now.has() == me && (now.counter == r.counter || now.counter == r.counter+1):
			r.counter, r.holder, r.owner = now.counter, now.holder, now.owner
		default:
			return r, t.wrap(r.key, kinesis.ErrLeaseLost)
		}
	}
}
