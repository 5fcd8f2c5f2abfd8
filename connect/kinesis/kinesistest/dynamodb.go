package kinesistest

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

const (
	validation    = "ValidationException"
	conditionMiss = "ConditionalCheckFailedException"
	maxItem       = 400 << 10
)

func init() { maps.Copy(actions, dynamodb) }

// dynamodb are the actions of DynamoDB that the service for tests has: what a table of leases needs. A parameter that is not
// listed in an action's input is an error of the call.
var dynamodb = map[string]action{
	"CreateTable":   strict(createTable),
	"DeleteItem":    strict(deleteItem),
	"DeleteTable":   strict(deleteTable),
	"DescribeTable": strict(describeTable),
	"GetItem":       strict(getItem),
	"PutItem":       strict(putItem),
	"Query":         strict(query),
	"Scan":          strict(scan),
	"UpdateItem":    strict(updateItem),
}

// table is a table with a key of one attribute.
type table struct {
	name    string
	key     string
	indexes []index
	input   createTableInput
	created time.Time
	rows    map[string]*row
}

// index has a key of one attribute that chooses, and one that orders.
type index struct {
	name, hash, order string
	keysOnly          bool
}

// row is an item, and what it was before its last change: a read that is not consistent may find either.
type row struct {
	now, before item // nil: no item
	changed     time.Time
}

type keyElement struct{ AttributeName, KeyType string }

type attributeDefinition struct{ AttributeName, AttributeType string }

type projection struct{ ProjectionType string }

type indexInput struct {
	IndexName  string
	KeySchema  []keyElement
	Projection projection
}

type createTableInput struct {
	TableName              string
	AttributeDefinitions   []attributeDefinition
	KeySchema              []keyElement
	BillingMode            string
	GlobalSecondaryIndexes []indexInput
	Tags                   []map[string]string
}

type indexDescription struct {
	indexInput
	IndexStatus string
}

type tableDescription struct {
	TableName, TableStatus string
	TableArn               string
	CreationDateTime       float64
	AttributeDefinitions   []attributeDefinition
	KeySchema              []keyElement
	ItemCount              int
	GlobalSecondaryIndexes []indexDescription `json:",omitempty"`
}

type createTableOutput struct{ TableDescription tableDescription }

func createTable(s *Server, in *createTableInput, _ *Fault) (out createTableOutput, err error) {
	if s.tables[in.TableName] != nil {
		return out, refuse(inUse, "table %s exists", in.TableName)
	}
	if in.BillingMode != "PAY_PER_REQUEST" {
		return out, refuse(validation, "the service for tests has tables with BillingMode PAY_PER_REQUEST only")
	}
	if len(in.KeySchema) != 1 || in.KeySchema[0].KeyType != "HASH" {
		return out, refuse(validation, "the service for tests has tables with one key attribute only")
	}
	t := &table{name: in.TableName, key: in.KeySchema[0].AttributeName, input: *in, created: s.now(), rows: map[string]*row{}}
	defined := map[string]bool{}
	for _, d := range in.AttributeDefinitions {
		if d.AttributeType != "S" {
			return out, refuse(validation, "the service for tests has keys of type S only")
		}
		defined[d.AttributeName] = true
	}
	used := map[string]bool{t.key: true}
	for _, i := range in.GlobalSecondaryIndexes {
		if len(i.KeySchema) != 2 || i.KeySchema[0].KeyType != "HASH" || i.KeySchema[1].KeyType != "RANGE" {
			return out, refuse(validation, "the service for tests has indexes with a HASH and a RANGE attribute only")
		}
		t.indexes = append(t.indexes, index{i.IndexName, i.KeySchema[0].AttributeName, i.KeySchema[1].AttributeName, i.Projection.ProjectionType == "KEYS_ONLY"})
		used[i.KeySchema[0].AttributeName], used[i.KeySchema[1].AttributeName] = true, true
	}
	if !maps.Equal(defined, used) {
		return out, refuse(validation, "the attributes that are defined are not those of the keys")
	}
	s.tables[in.TableName] = t
	return createTableOutput{s.describe(t)}, nil
}

// active says that the table has been made for as long as it takes.
func (s *Server) active(t *table) bool { return s.now().Sub(t.created) >= s.creating }

func (s *Server) describe(t *table) tableDescription {
	d := tableDescription{TableName: t.name, TableStatus: "ACTIVE", TableArn: "arn:aws:dynamodb:local:000000000000:table/" + t.name,
		CreationDateTime: seconds(t.created), AttributeDefinitions: t.input.AttributeDefinitions, KeySchema: t.input.KeySchema}
	if !s.active(t) {
		d.TableStatus = "CREATING"
	}
	for _, r := range t.rows {
		if r.now != nil {
			d.ItemCount++
		}
	}
	for _, i := range t.input.GlobalSecondaryIndexes {
		d.GlobalSecondaryIndexes = append(d.GlobalSecondaryIndexes, indexDescription{i, d.TableStatus})
	}
	return d
}

type tableInput struct{ TableName string }

type describeTableOutput struct{ Table tableDescription }

func describeTable(s *Server, in *tableInput, _ *Fault) (out describeTableOutput, err error) {
	t := s.tables[in.TableName]
	if t == nil {
		return out, refuse(notFound, "there is no table %s", in.TableName)
	}
	return describeTableOutput{s.describe(t)}, nil
}

func deleteTable(s *Server, in *tableInput, _ *Fault) (out createTableOutput, err error) {
	t, err := s.table(in.TableName)
	if err != nil {
		return out, err
	}
	delete(s.tables, t.name)
	out.TableDescription = s.describe(t)
	out.TableDescription.TableStatus = "DELETING"
	return out, nil
}

// table finds a table that can be read and written.
func (s *Server) table(name string) (*table, error) {
	t := s.tables[name]
	if t == nil || !s.active(t) {
		return nil, refuse(notFound, "there is no table %s, or it is being made", name)
	}
	return t, nil
}

// row finds the row of a key, which may be without item.
func (t *table) row(key item) (string, *row, error) {
	k, ok := key[t.key]
	if !ok || len(key) != 1 || k.S == nil || *k.S == "" {
		return "", nil, refuse(validation, "the key of table %s is a string %s that is not empty", t.name, t.key)
	}
	if r := t.rows[*k.S]; r != nil {
		return *k.S, r, nil
	}
	return *k.S, &row{}, nil
}

// write puts an item into the place of what a row had.
func (s *Server) write(t *table, key string, r *row, it item) error {
	for _, i := range t.indexes {
		for _, name := range []string{i.hash, i.order} {
			if v, ok := it[name]; ok && (v.S == nil || *v.S == "") {
				return refuse(validation, "%s is the key of index %s: it must be a string that is not empty", name, i.name)
			}
		}
	}
	if it.size() > maxItem {
		return refuse(validation, "an item of %d bytes: at most %d are allowed", it.size(), maxItem)
	}
	r.before, r.now, r.changed = r.now, it, s.now()
	t.rows[key] = r
	return nil
}

// read returns what a read finds; nil: nothing.
func (s *Server) read(r *row, consistent bool) item {
	if !consistent && s.now().Sub(r.changed) < s.lag {
		return r.before
	}
	return r.now
}

type getItemInput struct {
	TableName      string
	Key            item
	ConsistentRead bool
}

type itemOutput struct {
	Item item `json:",omitempty"`
}

func getItem(s *Server, in *getItemInput, _ *Fault) (out itemOutput, err error) {
	t, err := s.table(in.TableName)
	if err != nil {
		return out, err
	}
	_, r, err := t.row(in.Key)
	if err != nil {
		return out, err
	}
	return itemOutput{s.read(r, in.ConsistentRead)}, nil
}

// conditional is what all writes have.
type conditional struct {
	TableName                           string
	ConditionExpression                 string
	ExpressionAttributeNames            map[string]string
	ExpressionAttributeValues           map[string]attribute
	ReturnValues                        string
	ReturnValuesOnConditionCheckFailure string
}

// check finds the row of a key and evaluates the condition.
func (s *Server) check(in conditional, t *table, key item) (string, *row, *expressions, error) {
	k, r, err := t.row(key)
	if err != nil {
		return k, r, nil, err
	}
	x, err := newExpressions(in.ExpressionAttributeNames, in.ExpressionAttributeValues)
	if err != nil {
		return k, r, nil, err
	}
	ok, err := x.condition(in.ConditionExpression, r.now)
	if err == nil && !ok {
		miss := &apiError{code: conditionMiss, message: "The conditional request failed"}
		if in.ReturnValuesOnConditionCheckFailure == "ALL_OLD" {
			miss.item = r.now
		}
		err = miss
	}
	return k, r, x, err
}

type writeOutput struct {
	Attributes item `json:",omitempty"`
}

func (in conditional) answer(before, after item) (out writeOutput, err error) {
	switch in.ReturnValues {
	case "", "NONE":
	case "ALL_OLD":
		out.Attributes = before
	case "ALL_NEW":
		out.Attributes = after
	default:
		err = refuse(validation, "the service for tests returns NONE, ALL_OLD or ALL_NEW only")
	}
	return out, err
}

type putItemInput struct {
	conditional
	Item item
}

func putItem(s *Server, in *putItemInput, _ *Fault) (out writeOutput, err error) {
	t, err := s.table(in.TableName)
	if err != nil {
		return out, err
	}
	it := item{}
	for name, v := range in.Item {
		if it[name], err = v.normal(); err != nil {
			return out, err
		}
	}
	key := item{}
	if k, ok := it[t.key]; ok {
		key[t.key] = k
	}
	return s.change(in.conditional, t, key, func(*expressions, item) (item, error) { return it, nil })
}

type updateItemInput struct {
	conditional
	Key              item
	UpdateExpression string
}

func updateItem(s *Server, in *updateItemInput, _ *Fault) (out writeOutput, err error) {
	t, err := s.table(in.TableName)
	if err != nil {
		return out, err
	}
	return s.change(in.conditional, t, in.Key, func(x *expressions, it item) (item, error) {
		before := cmpItem(it, in.Key)
		after, err := x.update(in.UpdateExpression, before)
		if err == nil && !after[t.key].same(in.Key[t.key]) {
			err = refuse(validation, "update: %s is the key", t.key)
		}
		return after, err
	})
}

// cmpItem is the item that an update begins with: the one there is, or one with the key only.
func cmpItem(it, key item) item {
	if it != nil {
		return it
	}
	return maps.Clone(key)
}

type deleteItemInput struct {
	conditional
	Key item
}

func deleteItem(s *Server, in *deleteItemInput, _ *Fault) (out writeOutput, err error) {
	t, err := s.table(in.TableName)
	if err != nil {
		return out, err
	}
	return s.change(in.conditional, t, in.Key, func(*expressions, item) (item, error) { return nil, nil })
}

// change does a write if its condition holds.
func (s *Server) change(in conditional, t *table, key item, to func(*expressions, item) (item, error)) (out writeOutput, err error) {
	k, r, x, err := s.check(in, t, key)
	if err != nil {
		return out, err
	}
	before := r.now
	after, err := to(x, before)
	if err != nil {
		return out, err
	}
	if err := x.unused(); err != nil {
		return out, err
	}
	if out, err = in.answer(before, after); err != nil {
		return out, err
	}
	return out, s.write(t, k, r, after)
}

// pageInput is what Scan and Query have in common.
type pageInput struct {
	TableName, IndexName      string
	FilterExpression          string
	ExpressionAttributeNames  map[string]string
	ExpressionAttributeValues map[string]attribute
	ExclusiveStartKey         item
	Limit                     int
	ConsistentRead            bool
}

type pageOutput struct {
	Items            []item
	Count            int
	ScannedCount     int
	LastEvaluatedKey item `json:",omitempty"`
}

func scan(s *Server, in *pageInput, _ *Fault) (out pageOutput, err error) {
	if in.IndexName != "" {
		return out, refuse(validation, "the service for tests scans tables only")
	}
	return s.page(in, "", nil)
}

type queryInput struct {
	pageInput
	KeyConditionExpression string
}

func query(s *Server, in *queryInput, _ *Fault) (out pageOutput, err error) {
	t, err := s.table(in.TableName)
	if err != nil {
		return out, err
	}
	i := slices.IndexFunc(t.indexes, func(i index) bool { return i.name == in.IndexName })
	if i < 0 || in.ConsistentRead {
		return out, refuse(validation, "the service for tests queries indexes only, table %s has no index %q, or reads of it cannot be consistent", t.name, in.IndexName)
	}
	return s.page(&in.pageInput, in.KeyConditionExpression, &t.indexes[i])
}

// maxPage is how many items a page has at most: few, so that pages are met.
const maxPage = 100

// page reads items in the order of their keys, from after a key on, as many as the limit says before any filter.
func (s *Server) page(in *pageInput, keys string, i *index) (out pageOutput, err error) {
	t, err := s.table(in.TableName)
	if err != nil {
		return out, err
	}
	x, err := newExpressions(in.ExpressionAttributeNames, in.ExpressionAttributeValues)
	if err != nil {
		return out, err
	}
	from := ""
	if k, ok := in.ExclusiveStartKey[t.key]; ok && k.S != nil {
		from = *k.S
	}
	limit := maxPage
	if in.Limit > 0 {
		limit = min(limit, in.Limit)
	}
	// An expression's names and values must be known to be used although there may be no item.
	if _, err = x.condition(keys, item{}); err == nil {
		_, err = x.condition(in.FilterExpression, item{})
	}
	if err == nil {
		err = x.unused()
	}
	if err != nil {
		return out, err
	}
	out.Items = []item{}
	for _, k := range slices.SortedFunc(maps.Keys(t.rows), cmp.Compare) {
		it := s.read(t.rows[k], in.ConsistentRead)
		if k <= from || it == nil {
			continue
		}
		if i != nil {
			_, indexed := it[i.hash]
			ok, err := x.condition(keys, it)
			if err != nil {
				return out, err
			}
			if !indexed || !ok {
				continue
			}
		}
		if out.ScannedCount == limit {
			break
		}
		out.ScannedCount++
		out.LastEvaluatedKey = item{t.key: text(k)}
		ok, err := x.condition(in.FilterExpression, it)
		if err != nil {
			return out, err
		}
		if i != nil {
			out.LastEvaluatedKey[i.hash] = it[i.hash]
			if i.keysOnly {
				it = item{t.key: it[t.key], i.hash: it[i.hash], i.order: it[i.order]}
			}
		}
		if ok {
			out.Items = append(out.Items, it)
			out.Count++
		}
	}
	if out.ScannedCount < limit {
		out.LastEvaluatedKey = nil
	}
	return out, nil
}
