package cluster

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"text/template"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
)

//go:embed objects.yaml
var firstObjects string

func (c *cluster) firstObjects() ([]*unstructured.Unstructured, error) {
	text, err := template.New("objects.yaml").Parse(firstObjects)
	if err != nil {
		return nil, err
	}
	var filled bytes.Buffer
	err = text.Execute(&filled, map[string]string{
		"DNS": dnsService, "Image": pauseImage, "Programs": beside(""), "Hosts": c.dir.at("dns"),
		"PodIdentity": "https://" + c.link.node.String() + ":" + podIdentityPort + "/mutate", "CA": base64.StdEncoding.EncodeToString(c.ca.pem),
	})
	if err != nil {
		return nil, err
	}
	return decode(&filled)
}

func decode(text io.Reader) (objects []*unstructured.Unstructured, err error) {
	documents := yaml.NewYAMLOrJSONDecoder(text, 4096)
	for {
		one := &unstructured.Unstructured{}
		if err := documents.Decode(&one.Object); errors.Is(err, io.EOF) {
			return objects, nil
		} else if err != nil {
			return nil, err
		}
		if len(one.Object) > 0 {
			objects = append(objects, one)
		}
	}
}

// apply writes objects whose plurals are regular, which spares a discovery.
func apply(ctx context.Context, config *rest.Config, objects []*unstructured.Unstructured) error {
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return err
	}
	for _, one := range objects {
		plural, _ := meta.UnsafeGuessKindToResource(one.GroupVersionKind())
		body, err := json.Marshal(one)
		if err != nil {
			return err
		}
		force := true
		var resource dynamic.ResourceInterface = client.Resource(plural)
		if one.GetNamespace() != "" {
			resource = client.Resource(plural).Namespace(one.GetNamespace())
		}
		_, err = resource.Patch(ctx, one.GetName(), types.ApplyPatchType, body, metav1.PatchOptions{FieldManager: "envctl-test-cluster", Force: &force})
		if err != nil {
			return errors.New(strings.ToLower(one.GetKind()) + " " + one.GetName() + ": " + err.Error())
		}
	}
	return nil
}
