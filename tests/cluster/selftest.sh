#!/bin/bash
# Proves that a test cluster is what it says, on two of the same name side by
# side. Needs root and a Docker Engine; builds what is missing.
set -u
cd "$(dirname "$0")/../.." || exit 1
repository=$PWD
scripts/cluster build || exit 1
program=$repository/.tools/bin/envctl-test-cluster
authenticator=$repository/.tools/bin/aws-iam-authenticator
work=$(mktemp -d)
name=shared-dev
passed=0
failed=0
supervisor=

cleanup() {
    exec 9>&-
    [ -z "$supervisor" ] || wait "$supervisor" 2>/dev/null
    for one in a b; do
        [ -S "$work/$one/control.sock" ] || continue
        # The logs of a failure stay.
        if [ "$failed" = 0 ]; then "$program" down --dir "$work/$one"; else ctl "$one" shutdown >/dev/null; fi
    done
    docker image rm -f "$work_image" >/dev/null 2>&1
    [ "$failed" -gt 0 ] || rm -rf "$work"
}
work_image=envctl-selftest:$$
trap cleanup EXIT
trap 'exit 130' INT TERM

# prove TEXT COMMAND...: the command succeeds.
prove() {
    local text=$1 out
    shift
    if out=$("$@" 2>&1); then
        passed=$((passed + 1))
        printf '  ok      %s\n' "$text"
    else
        failed=$((failed + 1))
        printf '  FAILED  %s\n%s\n' "$text" "${out:0:2000}"
    fi
}

# finally COMMAND...: it succeeds within half a minute. For what no watch tells of.
finally() {
    local end=$((SECONDS + 30))
    until "$@"; do
        [ $SECONDS -lt $end ] || return 1
        sleep 0.2
    done
}

refuses() { ! "$@"; }
says() {
    local wanted=$1
    shift
    "$@" 2>&1 | tee "$work/said" | grep -q -- "$wanted" || { cat "$work/said"; return 1; }
}
ready() { python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))[sys.argv[2]])' "$work/$1/ready" "$2"; }
# The administrator's kubectl in a cluster, and that of somebody with AWS's credentials.
k() { local at=$1; shift; "$program" kubectl --kubeconfig "$work/$at/admin.kubeconfig" "$@"; }
as() { local at=$1 who=$2; shift 2; "$program" kubectl --kubeconfig "$work/$at/$who.kubeconfig" "$@"; }
ctl() { local at=$1; shift; "$program" ctl --dir "$work/$at" "$@"; }
# A request that is signed with the keys of a profile: aws CLUSTER PROFILE SERVICE PATH [CURL FLAG]...
aws() {
    local at=$1 who=$2 service=$3 path=$4
    shift 4
    local keys
    keys=$(python3 -c '
import configparser, sys
c = configparser.ConfigParser(); c.read(sys.argv[1]); p = c[sys.argv[2]]
print(p["aws_access_key_id"], p["aws_secret_access_key"], p.get("aws_session_token", ""))' "$work/$at/aws/credentials" "$who")
    read -r key secret token <<<"$keys"
    curl -sS --max-time 20 --aws-sigv4 "aws:amz:ap-northeast-1:$service" --user "$key:${SECRET:-$secret}" -H "X-Amz-Security-Token: $token" "$@" "$(ready "$at" awsEndpoint)$path"
}
identity() { aws "$1" "$2" sts / -d 'Action=GetCallerIdentity&Version=2011-06-15'; }

# What is on the machine because of the two clusters. Every process of one is
# in its cgroups, which could not be removed before.
left() {
    local one
    for one in "${cgroups[@]}"; do find /sys/fs/cgroup -maxdepth 2 -name "$one"; done
    for one in "${devices[@]}"; do ip -o link show "$one" 2>/dev/null; done
    grep -o "$work/[ab]/[^ ]*" /proc/self/mountinfo
    for one in /proc/[0-9]*; do
        tr '\0' ' ' <"$one/cmdline" | grep "^[^ ]*\(containerd\|envctl-test\|/exe\|inside\).*$work/[ab]"
    done 2>/dev/null # those that have just ended
}
nothing_left() { [ -z "$(left | tee "$work/left")" ] || { cat "$work/left"; return 1; }; }

# --- two clusters

prove "signatures that AWS documents" bash -c "cd tests/cluster && CGO_ENABLED=0 go test -trimpath ./aws"

mkdir "$work/image"
(cd tests/cluster && CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags "-s -w" -o "$work/image/selftest" ./selftest) || exit 1
printf 'FROM scratch\nCOPY selftest /selftest\nENTRYPOINT ["/selftest"]\nCMD ["serve"]\n' >"$work/image/Dockerfile"
DOCKER_BUILDKIT=0 docker build -q -t "$work_image" "$work/image" >/dev/null 2>"$work/build.log" || { cat "$work/build.log"; exit 1; }

# The first goes when its standard input is closed, as a test starts it; the second stays until it is told.
mkfifo "$work/stdin"
"$program" up --dir "$work/a" --name $name --until-stdin-closes <"$work/stdin" >"$work/a.out" 2>&1 &
supervisor=$!
exec 9>"$work/stdin"
prove "a cluster starts in the background" "$program" up --dir "$work/b" --name $name --detach
prove "another of the same name starts beside it" finally test -e "$work/a/ready"
[ "$failed" = 0 ] || { cat "$work/a.out"; exit 1; }
cat "$work/a.out"
cgroups=("$(ready a cgroup)" "$(ready b cgroup)")
devices=("$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["Device"])' "$work/a/state.json")" "$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["Device"])' "$work/b/state.json")")
prove "what will be looked for at the end is there" refuses nothing_left
prove "they are not the same" test "$(ready a kubeSystemUid)" != "$(ready b kubeSystemUid)"

# --- pods

prepare() {
    local at=$1
    local registry
    registry=$(ready "$at" registry)
    export DOCKER_CONFIG=$work/docker
    ready "$at" registryPassword | docker login -u AWS --password-stdin "$registry" >/dev/null 2>&1 &&
        docker tag "$work_image" "$registry/selftest:1" && docker push -q "$registry/selftest:1" && docker image rm "$registry/selftest:1" >/dev/null
}

objects() {
    local image
    image=$(ready "$1" registry)/selftest:1
    cat <<EOF
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: web, image: "$image", ports: [{name: http, containerPort: 8080}], readinessProbe: {httpGet: {path: /, port: http}, periodSeconds: 1}}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {type: NodePort, selector: {app: web}, ports: [{port: 80, targetPort: http, nodePort: 30080}]}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: fleeting}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Mi}}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: lasting}
spec: {storageClassName: retained, accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Mi}}}
---
apiVersion: v1
kind: Pod
metadata: {name: writer}
spec:
  containers:
  - {name: fleeting, image: "$image", args: [write, /data/file, text], volumeMounts: [{name: fleeting, mountPath: /data}]}
  - {name: lasting, image: "$image", args: [write, /data/file, text], volumeMounts: [{name: lasting, mountPath: /data}]}
  volumes: [{name: fleeting, persistentVolumeClaim: {claimName: fleeting}}, {name: lasting, persistentVolumeClaim: {claimName: lasting}}]
---
apiVersion: v1
kind: Pod
metadata: {name: glutton}
spec:
  restartPolicy: Never
  containers: [{name: glutton, image: "$image", args: [eat], resources: {limits: {memory: 32Mi}}}]
---
apiVersion: v1
kind: Pod
metadata: {name: giant}
spec: {containers: [{name: giant, image: "$image", resources: {requests: {cpu: "64"}}}]}
---
apiVersion: v1
kind: Pod
metadata: {name: lost}
spec: {containers: [{name: lost, image: "$(ready "$1" registry)/nothing:1"}]}
---
apiVersion: v1
kind: Namespace
metadata: {name: neighbour, labels: {team: neighbour}}
---
apiVersion: v1
kind: Pod
metadata: {name: neighbour, namespace: neighbour, labels: {app: neighbour}}
spec: {containers: [{name: neighbour, image: "$image"}]}
EOF
}

policy() {
    cat <<EOF
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: guard}
spec: {podSelector: {}, policyTypes: [Ingress], ingress: [$1]}
EOF
}

egress() {
    cat <<EOF
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: cage, namespace: neighbour}
spec: {podSelector: {}, policyTypes: [Egress], egress: [$1]}
EOF
}

run_in() { local at=$1; shift; k "$at" exec "$@"; }
# Always asked anew: where the volumes of a claim are.
volume() { ls -d "$work/$1/volumes/$(k "$1" get pvc "$2" -o 'jsonpath={.spec.volumeName}')"; }

pods() {
    local at=$1 fleeting lasting
    prove "$at: Docker pushes to its registry" prepare "$at"
    prove "$at: objects are taken" k "$at" apply -f <(objects "$at")
    prove "$at: a Deployment from the registry becomes available" k "$at" wait --timeout 60s --for condition=Available deployment/web
    prove "$at: pods with claims run" k "$at" wait --timeout 60s --for condition=Ready pod/writer
    prove "$at: a pod elsewhere runs" k "$at" wait --timeout 60s --for condition=Ready -n neighbour pod/neighbour
    prove "$at: logs" says serving k "$at" logs deployment/web
    prove "$at: exec, cluster DNS and a Service" says "hello from web-" run_in "$at" deployment/web -- /selftest get http://web.default.svc.cluster.local
    prove "$at: a short name" says "hello from web-" run_in "$at" deployment/web -- /selftest get http://web
    prove "$at: a name of another namespace" says 10.96.0.1 run_in "$at" -n neighbour neighbour -- /selftest lookup kubernetes.default
    prove "$at: a name of the world does not exist, and that is said at once" says "no such host" timeout 3 "$program" kubectl --kubeconfig "$work/$at/admin.kubeconfig" exec deployment/web -- /selftest lookup example.com
    prove "$at: a NodePort, from this machine" says "hello from web-" curl -sS --max-time 5 "http://$(ready "$at" nodeAddress):30080"

    prove "$at: too little memory is OOMKilled" k "$at" wait --timeout 60s --for 'jsonpath={.status.containerStatuses[0].state.terminated.reason}=OOMKilled' pod/glutton
    prove "$at: too much CPU is unschedulable" k "$at" wait --timeout 30s --for 'jsonpath={.status.conditions[?(@.type=="PodScheduled")].reason}=Unschedulable' pod/giant
    prove "$at: an image that is not there is ImagePullBackOff" k "$at" wait --timeout 60s --for 'jsonpath={.status.containerStatuses[0].state.waiting.reason}=ImagePullBackOff' pod/lost

    fleeting=$(volume "$at" fleeting)
    lasting=$(volume "$at" lasting)
    prove "$at: volumes are directories" test -s "$fleeting/file" -a -s "$lasting/file"
    prove "$at: claims are deleted" k "$at" delete --timeout 60s pod/writer pvc/fleeting pvc/lasting --grace-period 1
    prove "$at: Delete removes the directory" finally test ! -e "$fleeting"
    prove "$at: Retain keeps it" test -s "$lasting/file"
    prove "$at: and its volume" says Released k "$at" get pv "$(basename "$lasting")"

    across() { run_in "$at" -n neighbour neighbour -- /selftest get http://web.default; }
    prove "$at: without a policy a neighbour gets in" says "hello from" across
    prove "$at: a policy" k "$at" apply -f <(policy '{from: [{podSelector: {}}]}')
    prove "$at: keeps the neighbour out" finally refuses across
    prove "$at: but not its own" says "hello from" run_in "$at" deployment/web -- /selftest get http://web
    prove "$at: one with the neighbour's label" k "$at" apply -f <(policy '{from: [{namespaceSelector: {matchLabels: {team: neighbour}}, podSelector: {matchLabels: {app: neighbour}}}], ports: [{port: http}]}')
    prove "$at: lets it in" finally says "hello from" across
    prove "$at: a policy of egress, to DNS and nothing else" k "$at" apply -f <(egress '{to: [{namespaceSelector: {}, podSelector: {matchLabels: {k8s-app: kube-dns}}}], ports: [{port: 53, protocol: UDP}]}')
    prove "$at: keeps the neighbour in" finally refuses across
    prove "$at: though it finds the name" says 10.96 run_in "$at" -n neighbour neighbour -- /selftest lookup web.default
    prove "$at: one to the pods' addresses" k "$at" apply -f <(egress '{to: [{ipBlock: {cidr: 10.244.0.0/16}}]}')
    prove "$at: lets it out" finally says "hello from" across
}

pods a
pods b

# --- both ways through the wall

: >"$work/http"
python3 -m http.server --bind 127.0.0.1 --directory "$work/image" 0 >"$work/http" 2>&1 &
server=$!
finally grep -q "port" "$work/http"
port=$(grep -o 'port [0-9]*' "$work/http" | head -1 | cut -d' ' -f2)
prove "a forward, to this machine's loopback" ctl a forward port=7001 "to=127.0.0.1:$port"
prove "a pod goes through it" says "FROM scratch" run_in a deployment/web -- /selftest get "http://$(ready a nodeAddress):7001/Dockerfile"
published=$(ctl a publish "to=$(k a get service web -o 'jsonpath={.spec.clusterIP}'):80" | python3 -c 'import json, sys; print(json.load(sys.stdin)["address"])')
prove "a Service is published on this machine's loopback" says "hello from" curl -sS --max-time 5 "http://$published"
prove "and closed again" ctl a close "address=$published"
prove "so that nobody answers" refuses curl -sS --max-time 5 "http://$published"
kill $server
prove "a name is added to DNS" ctl a dns name=db.example.com "address=$(ready a nodeAddress)"
prove "and pods find it" finally says "$(ready a nodeAddress)" run_in a deployment/web -- /selftest lookup db.example.com
prove "an image is loaded without a registry" "$program" load --dir "$work/a" "$work_image"
prove "and a pod runs it" k a run loaded --image "$work_image" --image-pull-policy Never
prove "really" k a wait --timeout 30s --for condition=Ready pod/loaded

# --- who is who

prove "a developer is somebody" says "envctl:developers" as a aki auth whoami
prove "under the session's name" says "aki" as a aki auth whoami -o 'jsonpath={.status.userInfo.username}'
prove "and may do nothing yet" refuses as a aki get pods
prove "the platform team may" as a platform get pods -A
prove "expired credentials are refused" says "Unauthorized\|logged in" as a expired auth whoami
prove "another account is refused" says "Unauthorized\|logged in" as a other auth whoami
with_token() {
    local at=$1 who=$2 id=$3 token
    token=$(env AWS_PROFILE="$who" AWS_CONFIG_FILE="$work/$at/aws/config" AWS_SHARED_CREDENTIALS_FILE="$work/$at/aws/credentials" AWS_REGION=ap-northeast-1 \
        AWS_EC2_METADATA_DISABLED=true AWS_IGNORE_CONFIGURED_ENDPOINT_URLS=true "$authenticator" token --token-only -i "$id")
    "$program" kubectl --server "$(ready a server)" --certificate-authority "$(ready a ca)" --kubeconfig /dev/null --token "$token" auth whoami
}
prove "a token for this cluster is taken" says "envctl:developers" with_token a aki $name
prove "a token for another cluster's name is refused" says "Unauthorized\|logged in" with_token a aki other-dev
prove "a token of the other cluster's AWS is refused" says "Unauthorized\|logged in" with_token b aki $name
prove "AWS says who somebody is" says "assumed-role/Developer/aki" identity a aki
prove "a wrong secret is refused" says SignatureDoesNotMatch env SECRET=wrong bash -c "$(declare -f aws ready identity); work=$work; identity a aki"
prove "expired credentials are, too" says ExpiredToken identity a expired
prove "somebody for three seconds" ctl a identity profile=brief role=Developer lasts=3s
prove "is known" says "Developer/brief" identity a brief
prove "and then is not" finally says ExpiredToken identity a brief
prove "a role of one's own account can be assumed" says SessionToken aws a aki sts / -d 'Action=AssumeRole&Version=2011-06-15&RoleArn=arn:aws:iam::333333333333:role/PlatformAdmin&RoleSessionName=x'
prove "one of another account cannot" says AccessDenied aws a aki sts / -d 'Action=AssumeRole&Version=2011-06-15&RoleArn=arn:aws:iam::444444444444:role/Developer&RoleSessionName=x'
issuer=$(k a get --raw /.well-known/openid-configuration | python3 -c 'import json, sys; print(json.load(sys.stdin)["issuer"].removeprefix("https://"))')
trust="{\"Statement\": [{\"Effect\": \"Allow\", \"Action\": \"sts:AssumeRoleWithWebIdentity\", \"Principal\": {\"Federated\": \"arn:aws:iam::333333333333:oidc-provider/$issuer\"}, \"Condition\": {\"StringEquals\": {\"$issuer:sub\": \"system:serviceaccount:default:trusted\"}}}]}"
prove "a role that trusts one service account" says "role/pods" aws a aki iam / -d 'Action=CreateRole&Version=2010-05-08&RoleName=pods' --data-urlencode "AssumeRolePolicyDocument=$trust"
for one in trusted stranger; do
    prove "a service account, $one" k a create serviceaccount $one
    prove "with that role" k a annotate serviceaccount $one eks.amazonaws.com/role-arn=arn:aws:iam::333333333333:role/pods
done
prove "pods are told so" says AWS_WEB_IDENTITY_TOKEN_FILE k a run x --image x --dry-run=server -o yaml --overrides '{"spec": {"serviceAccountName": "trusted"}}'
prove "those of others are not" refuses says AWS_ROLE_ARN k a run x --image x --dry-run=server -o yaml
# by_token NAME AUDIENCE: assumes the role by a token of that service account. Nobody signs this.
by_token() { curl -sS --max-time 20 "$(ready a awsEndpoint)" -d 'Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleArn=arn:aws:iam::333333333333:role/pods&RoleSessionName=x' --data-urlencode "WebIdentityToken=$(k a create token "$1" --audience "$2")"; }
prove "its token is the role's" says "assumed-role/pods/x" by_token trusted sts.amazonaws.com
prove "another's is not" says AccessDenied by_token stranger sts.amazonaws.com
prove "one for somebody else is none" says InvalidIdentityToken by_token trusted elsewhere
prove "a new role is mapped" ctl a map role=Auditor username=auditor groups=envctl:auditors
prove "somebody has it" ctl a identity profile=auditor role=Auditor
prove "and is known to the cluster" says "envctl:auditors" as a auditor auth whoami
prove "a user with a certificate" says kubeconfig ctl a user name=rei groups=qa
prove "is somebody too" says "rei" "$program" kubectl --kubeconfig "$work/a/user-rei.kubeconfig" auth whoami
prove "DescribeCluster tells the truth" says "$(ready a server)" aws a aki eks /clusters/$name
prove "or what it is told to" ctl a eks endpoint=https://elsewhere:6443
prove "to whoever asks" says elsewhere aws a aki eks /clusters/$name
prove "and the truth again" ctl a eks
prove "which is the cluster's" says "$(ready a server)" aws a aki eks /clusters/$name
prove "another account has no such cluster" says ResourceNotFoundException aws a other eks /clusters/$name
prove "ECR's login is the registry's" says "$(ready a registry)" aws a aki ecr / -H 'X-Amz-Target: AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken' -H 'Content-Type: application/x-amz-json-1.1' -d '{}'
prove "a bucket is made" aws a aki s3 /selftest -X PUT -H 'Content-Type: application/xml' -d '<CreateBucketConfiguration><LocationConstraint>ap-northeast-1</LocationConstraint></CreateBucketConfiguration>' --fail
prove "and is there" says selftest aws a aki s3 / -H 'Accept: */*'
prove "but not for the other cluster" refuses says "<Name>selftest" aws b aki s3 /
prove "nor the other account" refuses says "<Name>selftest" aws a other s3 /
prove "the log counts writes" says '"action":"PUT /selftest","write":true' cat "$(ready a awsLog)"
prove "the audit log has who wrote" says '"username":"admin"' cat "$(ready a auditLog)"

# --- load balancers, fakes, and faults

fake() {
    cat <<EOF
apiVersion: v1
kind: Node
metadata: {name: fake, annotations: {kwok.x-k8s.io/node: fake}, labels: {kubernetes.io/os: linux, kubernetes.io/arch: arm64, fake: node}}
spec: {taints: [{key: fake, effect: NoSchedule}]}
status: {allocatable: {cpu: "32", memory: 256Gi, pods: "110"}, capacity: {cpu: "32", memory: 256Gi, pods: "110"}}
---
apiVersion: v1
kind: Pod
metadata: {name: fake}
spec: {nodeSelector: {fake: node}, tolerations: [{operator: Exists}], containers: [{name: fake, image: none}]}
EOF
}
prove "kwok starts" ctl b start name=kwok
prove "a node that is none" k b apply -f <(fake)
prove "runs a pod that is none" k b wait --timeout 30s --for condition=Ready pod/fake

prove "the load balancer controller starts" ctl a start name=albc
prove "an Ingress" k a create ingress front --class alb --rule 'front.example.com/*=web:80' --annotation alb.ingress.kubernetes.io/scheme=internet-facing
prove "becomes a load balancer" finally says elb.amazonaws.com k a get ingress front -o 'jsonpath={.status.loadBalancer.ingress[0].hostname}'
balancers() { aws a platform elasticloadbalancing / -d 'Action=DescribeLoadBalancers&Version=2015-12-01'; }
prove "that AWS has" says k8s-default-front balancers
prove "the controller stops" ctl a stop name=albc
prove "an Ingress is deleted" k a delete ingress front --wait=false
prove "and stays" refuses k a wait --timeout 3s --for delete ingress/front
prove "as does the load balancer" says k8s-default-front balancers
prove "the controller starts again" ctl a start name=albc
prove "and takes the Ingress" k a wait --timeout 60s --for delete ingress/front
prove "and the load balancer" refuses says k8s-default-front balancers

prove "the API server stops" ctl a stop name=apiserver
prove "and is away" refuses k a get --request-timeout 3s nodes
prove "it starts" ctl a start name=apiserver
prove "and answers" finally k a get nodes
prove "the network goes down" ctl a network state=down
prove "and nobody answers" refuses timeout 3 "$program" kubectl --kubeconfig "$work/a/admin.kubeconfig" get nodes
prove "the network comes up" ctl a network state=up
prove "and the node with it" finally k a get nodes
prove "the other cluster saw nothing of it" k b get nodes

# --- the end

prove "a directory in use is refused" says "runs in this directory" "$program" up --dir "$work/b" --name $name
prove "clean refuses it, too" refuses "$program" clean --dir "$work/b"
killed=$(ready b pid)
kill -KILL "$killed"
exec 9>&- # what starts a cluster has died
wait $supervisor
supervisor=
prove "the first is gone, but for its logs" test ! -e "$work/a/ready" -a -e "$work/a/logs/audit.jsonl"
prove "what a killed supervisor left is cleaned" finally "$program" clean --dir "$work/b"
prove "nothing is left: no process, device, mount, cgroup" finally nothing_left

printf '%s passed, %s failed\n' "$passed" "$failed"
[ "$failed" = 0 ] || echo "logs: $work"
[ "$failed" = 0 ]
