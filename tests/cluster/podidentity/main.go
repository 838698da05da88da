// Package podidentity does what EKS's own webhook of that name does: it hands
// pods whose service account names a role a token for AWS, and the variables
// by which AWS's tools find both.
package podidentity

import (
	"context"
	"encoding/json"
	"flag"
	"log"
	"net/http"

	admission "k8s.io/api/admission/v1"
	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/utils/ptr"
)

// Names and values are EKS's.
const (
	annotation = "eks.amazonaws.com/role-arn"
	volume     = "aws-iam-token"
	directory  = "/var/run/secrets/eks.amazonaws.com/serviceaccount"
	audience   = "sts.amazonaws.com"
	expiration = 86400
)

// Main answers the API server until it is ended.
func Main() {
	kubeconfig := flag.String("kubeconfig", "", "of somebody who may read service accounts")
	listen := flag.String("listen", "", "address")
	certificate := flag.String("tls-cert-file", "", "file")
	key := flag.String("tls-private-key-file", "", "file")
	region := flag.String("region", "", "of the cluster")
	flag.Parse()
	config, err := clientcmd.BuildConfigFromFlags("", *kubeconfig)
	if err != nil {
		log.Fatal(err)
	}
	client := kubernetes.NewForConfigOrDie(config)
	mux := http.NewServeMux()
	mux.HandleFunc("POST /mutate", func(w http.ResponseWriter, r *http.Request) {
		var review admission.AdmissionReview
		if err := json.NewDecoder(r.Body).Decode(&review); err != nil || review.Request == nil {
			http.Error(w, "no AdmissionReview", http.StatusBadRequest)
			return
		}
		answer := &admission.AdmissionResponse{UID: review.Request.UID, Allowed: true}
		if patch, err := mutate(r.Context(), client, *region, review.Request); err != nil {
			// A pod is not kept from starting.
			log.Printf("%s/%s: %v", review.Request.Namespace, review.Request.Name, err)
		} else if patch != nil {
			answer.Patch, answer.PatchType = patch, ptr.To(admission.PatchTypeJSONPatch)
		}
		review.Request, review.Response = nil, answer
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(review)
	})
	log.Fatal(http.ListenAndServeTLS(*listen, *certificate, *key, mux))
}

func mutate(ctx context.Context, client kubernetes.Interface, region string, request *admission.AdmissionRequest) ([]byte, error) {
	var pod core.Pod
	if err := json.Unmarshal(request.Object.Raw, &pod); err != nil {
		return nil, err
	}
	account, err := client.CoreV1().ServiceAccounts(request.Namespace).Get(ctx, or(pod.Spec.ServiceAccountName, "default"), meta.GetOptions{})
	if errors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	role := account.Annotations[annotation]
	if role == "" {
		return nil, nil
	}
	equip(&pod.Spec, role, region)
	return json.Marshal([]map[string]any{{"op": "replace", "path": "/spec", "value": pod.Spec}})
}

// equip adds what is not there yet: a pod may have it by itself.
func equip(spec *core.PodSpec, role, region string) {
	for _, one := range spec.Volumes {
		if one.Name == volume {
			return
		}
	}
	token := core.ServiceAccountTokenProjection{Audience: audience, ExpirationSeconds: ptr.To[int64](expiration), Path: "token"}
	spec.Volumes = append(spec.Volumes, core.Volume{Name: volume, VolumeSource: core.VolumeSource{Projected: &core.ProjectedVolumeSource{
		Sources: []core.VolumeProjection{{ServiceAccountToken: &token}},
	}}})
	variables := []core.EnvVar{
		{Name: "AWS_STS_REGIONAL_ENDPOINTS", Value: "regional"}, {Name: "AWS_DEFAULT_REGION", Value: region}, {Name: "AWS_REGION", Value: region},
		{Name: "AWS_ROLE_ARN", Value: role}, {Name: "AWS_WEB_IDENTITY_TOKEN_FILE", Value: directory + "/token"},
	}
	for _, containers := range [][]core.Container{spec.InitContainers, spec.Containers} {
		for i := range containers {
			one := &containers[i]
			one.VolumeMounts = append(one.VolumeMounts, core.VolumeMount{Name: volume, MountPath: directory, ReadOnly: true})
			for _, variable := range variables {
				if !has(one.Env, variable.Name) {
					one.Env = append(one.Env, variable)
				}
			}
		}
	}
}

func has(variables []core.EnvVar, name string) bool {
	for _, one := range variables {
		if one.Name == name {
			return true
		}
	}
	return false
}

func or(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}
