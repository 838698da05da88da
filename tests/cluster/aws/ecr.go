package aws

import (
	"encoding/base64"
	"net/http"
	"time"
)

// Registry stands for the account's own.
type Registry struct {
	Endpoint string
	Password string
}

func (s *server) ecrToken(w http.ResponseWriter, r *http.Request) {
	token := base64.StdEncoding.EncodeToString([]byte("AWS:" + s.config.Registry.Password))
	answerJSON(w, r, http.StatusOK, map[string]any{"authorizationData": []any{map[string]any{
		"authorizationToken": token, "expiresAt": float64(time.Now().Add(12 * time.Hour).Unix()), "proxyEndpoint": s.config.Registry.Endpoint,
	}}})
}
