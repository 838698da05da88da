package aws

import (
	"encoding/json"
	"net/http"
)

// admin changes what the double knows, while it runs.
func (s *server) admin() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /identities", func(w http.ResponseWriter, r *http.Request) {
		var one Identity
		if !read(w, r, &one) {
			return
		}
		s.mutex.Lock()
		if one.Role != "" && !contains(s.config.Roles, one.Role) {
			s.config.Roles = append(s.config.Roles, one.Role)
		}
		s.mutex.Unlock()
		report(w, s.table.put(&one))
	})
	mux.HandleFunc("DELETE /identities/{key}", func(w http.ResponseWriter, r *http.Request) {
		report(w, s.table.remove(r.PathValue("key")))
	})
	// Replaces all that DescribeCluster tells; an empty list restores the truth.
	mux.HandleFunc("PUT /clusters", func(w http.ResponseWriter, r *http.Request) {
		var clusters []*Cluster
		if !read(w, r, &clusters) {
			return
		}
		if len(clusters) == 0 {
			clusters = s.original
		}
		s.mutex.Lock()
		s.config.Clusters = clusters
		s.mutex.Unlock()
	})
	mux.HandleFunc("PUT /policies", func(w http.ResponseWriter, r *http.Request) {
		var of Policies
		if read(w, r, &of) {
			report(w, s.policies.set(of))
		}
	})
	mux.HandleFunc("GET /ready", func(http.ResponseWriter, *http.Request) {})
	return mux
}

func read(w http.ResponseWriter, r *http.Request, into any) bool {
	if err := json.NewDecoder(r.Body).Decode(into); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return false
	}
	return true
}

func report(w http.ResponseWriter, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}
