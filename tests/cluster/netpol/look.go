package netpol

import (
	"sort"

	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// look takes a picture of the caches, in an order that makes equal worlds equal texts.
func look(pods lister[*core.Pod], namespaces lister[*core.Namespace], policies lister[*networking.NetworkPolicy]) *world {
	w := &world{namespaces: map[string]labels.Set{}}
	all, _ := pods(labels.Everything())
	for _, pod := range all {
		if addressed(pod) {
			w.pods = append(w.pods, pod)
		}
	}
	sort.Slice(w.pods, func(a, b int) bool { return w.pods[a].UID < w.pods[b].UID })
	spaces, _ := namespaces(labels.Everything())
	for _, one := range spaces {
		w.namespaces[one.Name] = one.Labels
	}
	w.policies, _ = policies(labels.Everything())
	sort.Slice(w.policies, func(a, b int) bool { return w.policies[a].UID < w.policies[b].UID })
	return w
}
