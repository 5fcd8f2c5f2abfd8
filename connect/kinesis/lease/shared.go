package lease

import (
	"maps"
	"net/url"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// Table.Shared. The keys of rows begin with the application and the stream, and their kinds are not those of tables that belong to one
// stream: an application that takes such a table for its own passes them over, as rows of other kinds, instead of taking them for leases of
// shards that have gone. Everything but table knows rows without either.

// sharedKind begins the kinds of rows of shared tables.
const sharedKind = "SHARED_"

// sharedPrefix begins the keys of an application's rows for a stream. Of an ARN the last part counts, as in the names of tables.
func sharedPrefix(app, stream string) string {
	return url.PathEscape(app) + "/" + url.PathEscape(lastPart(stream)) + "/"
}

// key is a row's key as the table has it.
func (t *table) key(key string) item { return item{attrKey: text(t.prefix + key)} }

// outward makes a row what the table is to have.
func (t *table) outward(it item) item {
	if t.prefix == "" {
		return it
	}
	it = maps.Clone(it)
	if key, ok := it[attrKey].(*types.AttributeValueMemberS); ok {
		it[attrKey] = text(t.prefix + key.Value)
	}
	it[attrEntity] = text(sharedKind + entity(it))
	return it
}

// inward makes what the table has a row; ours is false if it is another application's or stream's.
func (t *table) inward(it item) (row item, ours bool) {
	kind, shared := strings.CutPrefix(entity(it), sharedKind)
	if t.prefix == "" {
		return it, !shared
	}
	key, ok := it[attrKey].(*types.AttributeValueMemberS)
	if !ok || !shared || !strings.HasPrefix(key.Value, t.prefix) {
		return nil, false
	}
	it = maps.Clone(it)
	it[attrKey], it[attrEntity] = text(key.Value[len(t.prefix):]), text(kind)
	return it, true
}
