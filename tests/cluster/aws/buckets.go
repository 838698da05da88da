package aws

import (
	"net/http"
	"strings"
	"sync"
)

// buckets knows whose they are, by who made them: moto does not look at the
// owner that a request expects.
type buckets struct {
	mutex  sync.Mutex
	owners map[string]string
}

// bucketOf is the bucket that the path names, and whether it is all of it.
func bucketOf(r *http.Request) (string, bool) {
	bucket, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	return bucket, key == "" && r.URL.RawQuery == ""
}

func (b *buckets) check(r *http.Request) *refusal {
	expected := r.Header.Get("X-Amz-Expected-Bucket-Owner")
	bucket, _ := bucketOf(r)
	b.mutex.Lock()
	defer b.mutex.Unlock()
	if owner := b.owners[bucket]; expected != "" && owner != "" && owner != expected {
		return refuse("AccessDenied", "Access Denied")
	}
	return nil
}

// made notes who made a bucket, if that is what the request did.
func (b *buckets) made(r *http.Request, account string) {
	bucket, whole := bucketOf(r)
	if r.Method != http.MethodPut || !whole {
		return
	}
	b.mutex.Lock()
	defer b.mutex.Unlock()
	if b.owners == nil {
		b.owners = map[string]string{}
	}
	b.owners[bucket] = account
}
