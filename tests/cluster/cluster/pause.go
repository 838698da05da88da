package cluster

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
)

// pauseTar makes the image that holds pods' namespaces, in the form of `docker
// save`: one static program, so that no registry is needed to begin with.
func pauseTar() ([]byte, error) {
	program, err := os.ReadFile(beside("envctl-test-pause"))
	if err != nil {
		return nil, err
	}
	layer, err := archive(map[string][]byte{"pause": program}, 0o755)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(layer)
	config, err := json.Marshal(object{
		"architecture": "amd64", "os": "linux", "config": object{"Entrypoint": list{"/pause"}},
		"rootfs": object{"type": "layers", "diff_ids": list{"sha256:" + hex.EncodeToString(sum[:])}},
	})
	if err != nil {
		return nil, err
	}
	manifest, err := json.Marshal(list{object{"Config": "config.json", "RepoTags": list{pauseImage}, "Layers": list{"layer.tar"}}})
	if err != nil {
		return nil, err
	}
	return archive(map[string][]byte{"layer.tar": layer, "config.json": config, "manifest.json": manifest}, 0o644)
}

func archive(files map[string][]byte, mode int64) ([]byte, error) {
	var out bytes.Buffer
	writer := tar.NewWriter(&out)
	for name, text := range files {
		if err := writer.WriteHeader(&tar.Header{Name: name, Mode: mode, Size: int64(len(text))}); err != nil {
			return nil, err
		}
		if _, err := writer.Write(text); err != nil {
			return nil, err
		}
	}
	return out.Bytes(), writer.Close()
}
