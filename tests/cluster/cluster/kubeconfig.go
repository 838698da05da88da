package cluster

import (
	"encoding/json"
	"os"
)

// A kubeconfig is JSON here, which is YAML too.
type object = map[string]any
type list = []any

type endpoint struct {
	name, url string
	authority []byte
}

func (e endpoint) write(path string, user object) error {
	return writeJSON(path, object{
		"apiVersion": "v1", "kind": "Config", "current-context": e.name,
		"clusters": list{object{"name": e.name, "cluster": object{"server": e.url, "certificate-authority-data": e.authority}}},
		"users":    list{object{"name": "user", "user": user}},
		"contexts": list{object{"name": e.name, "context": object{"cluster": e.name, "user": "user"}}},
	})
}

func (p pair) user() object {
	return object{"client-certificate-data": p.certificate, "client-key-data": p.key}
}

func writeJSON(path string, value any) error {
	text, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o600)
}
