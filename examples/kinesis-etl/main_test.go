package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Every visit becomes a view or a dead letter, and what is personal is in neither of what is printed.
func TestRun(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, run(t.Context(), options{dir: t.TempDir(), prefix: "t-", visits: 3000, limit: time.Minute}, &out))
	broken, lost := 3000/97, 3000/53-3000/(97*53)
	assert.Regexp(t, `(?m)^`+strings.Join([]string{"2914 views and 86 dead letters in "}, "")+`.*; [1-9]\d* pages in minutes that are over$`, out.String())
	assert.Equal(t, 86, broken+lost)
	assert.Contains(t, out.String(), `"network":"192.0.2.0/24"`)
	assert.Contains(t, out.String(), "is no address of a page")
	for _, secret := range []string{"@example.com", "Person", "192.0.2.1"} {
		assert.NotContains(t, out.String(), secret)
	}
}

func TestRefine(t *testing.T) {
	at := time.Now()
	good := Visit{ID: "1", Email: "A@b.c", IP: "2001:db8:1:2::3", URL: "https://x/a/?utm_source=s", Agent: "Mobile", At: at}
	v, err := refine(good, []byte("s"))
	require.NoError(t, err)
	assert.Equal(t, View{"1", v.Visitor, "2001:db8:1::/48", "/a", "s", true, at}, v)
	same := good
	same.Email = "a@B.c"
	w, err := refine(same, []byte("s"))
	require.NoError(t, err)
	assert.Equal(t, v.Visitor, w.Visitor, "the same person")
	w, err = refine(good, []byte("other"))
	require.NoError(t, err)
	assert.NotEqual(t, v.Visitor, w.Visitor, "nobody who does not know the secret finds out")
	for name, bad := range map[string]func(*Visit){"id": func(v *Visit) { v.ID = "" }, "time": func(v *Visit) { v.At = time.Time{} }, "url": func(v *Visit) { v.URL = "%" }, "ip": func(v *Visit) { v.IP = "?" }} {
		v := good
		bad(&v)
		_, err := refine(v, nil)
		assert.Error(t, err, name)
	}
}
