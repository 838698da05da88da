package aws

import (
	"crypto/rand"
	"encoding/base32"
	"encoding/json"
	"fmt"
	"os"
	"sort"
	"strings"
	"sync"
	"time"
)

// Identity is an access key and whom it stands for: a session of a role, or a
// user if it names no role.
type Identity struct {
	Profile   string `json:",omitempty"` // in the files that AWS's tools read
	Account   string
	Role      string    `json:",omitempty"`
	Name      string    // of the session or user
	Expires   time.Time `json:",omitzero"`
	AccessKey string
	Secret    string
	Token     string `json:",omitempty"`
}

func (i *Identity) ARN() string {
	if i.Role == "" {
		return fmt.Sprintf("arn:aws:iam::%s:user/%s", i.Account, i.Name)
	}
	return fmt.Sprintf("arn:aws:sts::%s:assumed-role/%s/%s", i.Account, i.Role, i.Name)
}

// RoleARN is what the session was assumed from.
func RoleARN(account, role string) string { return "arn:aws:iam::" + account + ":role/" + role }

// UserID is the same for all sessions of a role, up to the colon.
func (i *Identity) UserID() string {
	if i.Role == "" {
		return "AIDA" + derive(i.Account, i.Name)
	}
	return "AROA" + derive(i.Account, i.Role) + ":" + i.Name
}

func derive(words ...string) string {
	return strings.ToUpper(hexHash([]byte(strings.Join(words, "/"))))[:17]
}

// Issue draws the keys. Those of sessions have a token, and begin as AWS's do.
func (i *Identity) Issue() {
	i.AccessKey = "AKIA" + random(10)
	i.Secret = random(25)
	if i.Role != "" {
		i.AccessKey = "ASIA" + i.AccessKey[4:]
		i.Token = random(60)
	}
}

func random(size int) string {
	raw := make([]byte, size)
	_, _ = rand.Read(raw)
	return base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(raw)
}

// table holds all identities, also over a restart.
type table struct {
	file  string
	mutex sync.Mutex
	byKey map[string]*Identity
}

func loadTable(file string) (*table, error) {
	t := &table{file: file, byKey: map[string]*Identity{}}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var all []*Identity
	if err := json.Unmarshal(text, &all); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	for _, one := range all {
		t.byKey[one.AccessKey] = one
	}
	return t, nil
}

func (t *table) get(key string) *Identity {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	return t.byKey[key]
}

func (t *table) put(i *Identity) error {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	t.byKey[i.AccessKey] = i
	return t.save()
}

func (t *table) remove(key string) error {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	delete(t.byKey, key)
	return t.save()
}

func (t *table) save() error {
	all := make([]*Identity, 0, len(t.byKey))
	for _, one := range t.byKey {
		all = append(all, one)
	}
	sort.Slice(all, func(a, b int) bool { return all[a].AccessKey < all[b].AccessKey })
	return SaveIdentities(t.file, all)
}

// SaveIdentities writes the file that the double begins with.
func SaveIdentities(file string, all []*Identity) error {
	text, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(file+".new", text, 0o600); err != nil {
		return err
	}
	return os.Rename(file+".new", file)
}
