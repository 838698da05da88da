//! How long translations take. Prints, as JSON, milliseconds per 1,000 objects of each run:
//! `parse` for reading their YAML, `translate` for 1,000 objects in 25 environments, which is a usual
//! size for each, and `one` for 1,000 objects in a single one. There every container gets the
//! variables of every Service, as from a kubelet, so that the result grows with the square.
//!
//! ```text
//! cargo run --release --package envctl-translate --example thousand
//! ```

use std::error::Error;
use std::hint::black_box;
use std::time::{Duration, Instant};

use envctl_translate::{
    EngineFacts, Environment, Input, MissingReferences, Network, Object, Router, Stage, Warden, parse,
    translate,
};

/// Each brings eight objects, so that there are 1,000.
const APPLICATIONS: usize = 125;
const ENVIRONMENTS: usize = 25;
const RUNS: usize = 11;

/// What an ordinary chart makes for one application, in the sizes that charts have.
const TEMPLATE: &str = r#"
---
apiVersion: v1
kind: ConfigMap
metadata: {name: NAME, labels: {app: NAME}}
data:
  LOG_LEVEL: info
  nginx.conf: |
    worker_processes auto;
    events { worker_connections 1024; }
    http {
      upstream backend { server NAME-db:5432; }
      server { listen 8081; location / { proxy_pass http://backend; } }
    }
---
apiVersion: v1
kind: Secret
metadata: {name: NAME, labels: {app: NAME}}
type: Opaque
stringData: {password: "not-a-secret", token: "0123456789abcdef"}
---
apiVersion: v1
kind: Service
metadata: {name: NAME, labels: {app: NAME}}
spec:
  selector: {app: NAME}
  ports: [{name: http, port: 80, targetPort: http}, {name: metrics, port: 9090, targetPort: 9090}]
---
apiVersion: v1
kind: Service
metadata: {name: NAME-db}
spec:
  clusterIP: None
  selector: {app: NAME-db}
  ports: [{name: sql, port: 5432}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: NAME, labels: {app: NAME}}
spec:
  replicas: 2
  selector: {matchLabels: {app: NAME}}
  template:
    metadata: {labels: {app: NAME}, annotations: {checksum/config: "5f70bf18a086007016e948b04aed3b82"}}
    spec:
      securityContext: {runAsUser: 10001, runAsGroup: 10001, fsGroup: 10001, runAsNonRoot: true}
      terminationGracePeriodSeconds: 30
      initContainers:
        - {name: wait, image: "registry.example.com/tools:1", command: [sh, -c, "until nc -z NAME-db 5432; do sleep 1; done"]}
      containers:
        - name: app
          image: registry.example.com/app:1.2.3
          args: [serve, "--address=$(POD_IP):8080"]
          ports: [{name: http, containerPort: 8080}, {name: metrics, containerPort: 9090}]
          envFrom: [{configMapRef: {name: NAME}}]
          env:
            - {name: POD_IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
            - {name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
            - {name: PASSWORD, valueFrom: {secretKeyRef: {name: NAME, key: password}}}
            - {name: DATABASE_URL, value: "postgres://app:$(PASSWORD)@NAME-db:5432/app"}
          resources: {requests: {cpu: 100m, memory: 128Mi}, limits: {cpu: 500m, memory: 256Mi}}
          startupProbe: {httpGet: {path: /healthz, port: http}, failureThreshold: 30, periodSeconds: 1}
          readinessProbe: {httpGet: {path: /readyz, port: http}, periodSeconds: 5}
          livenessProbe: {tcpSocket: {port: http}, initialDelaySeconds: 10}
          securityContext: {readOnlyRootFilesystem: true, allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
          volumeMounts: [{name: tmp, mountPath: /tmp}, {name: token, mountPath: /run/token, readOnly: true}]
        - name: proxy
          image: registry.example.com/nginx:1.27
          ports: [{containerPort: 8081}]
          volumeMounts: [{name: config, mountPath: /etc/nginx}]
      volumes:
        - {name: tmp, emptyDir: {}}
        - {name: token, secret: {secretName: NAME, items: [{key: token, path: value, mode: 0400}]}}
        - {name: config, configMap: {name: NAME}}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: NAME-db}
spec:
  serviceName: NAME-db
  replicas: 1
  selector: {matchLabels: {app: NAME-db}}
  template:
    metadata: {labels: {app: NAME-db}}
    spec:
      containers:
        - name: db
          image: registry.example.com/postgres:17
          ports: [{name: sql, containerPort: 5432}]
          env: [{name: POSTGRES_PASSWORD, valueFrom: {secretKeyRef: {name: NAME, key: password}}}]
          readinessProbe: {exec: {command: [pg_isready]}}
          volumeMounts: [{name: data, mountPath: /var/lib/postgresql/data, subPath: db}]
  volumeClaimTemplates:
    - {metadata: {name: data}, spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}
---
apiVersion: batch/v1
kind: Job
metadata:
  name: NAME-migrate
  annotations: {helm.sh/hook: "pre-install,pre-upgrade", helm.sh/hook-weight: "5"}
spec:
  backoffLimit: 2
  template:
    spec:
      restartPolicy: Never
      containers: [{name: migrate, image: "registry.example.com/app:1.2.3", args: [migrate]}]
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: NAME}
spec:
  rules:
    - host: NAME.bench.localhost
      http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: NAME, port: {name: http}}}}]}
"#;

fn main() -> Result<(), Box<dyn Error>> {
    let usual: Vec<String> = (0..ENVIRONMENTS).map(|_| yaml(APPLICATIONS / ENVIRONMENTS)).collect();
    let one = [yaml(APPLICATIONS)];
    let (mut parsing, mut translating, mut all_in_one) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..RUNS {
        let (read, translated) = measure(&usual)?;
        parsing.push(read);
        translating.push(translated);
        all_in_one.push(measure(&one)?.1);
    }
    let report = serde_json::json!({ "parse": parsing, "translate": translating, "one": all_in_one });
    #[allow(clippy::print_stdout, reason = "that is what it is for")]
    {
        println!("{report}");
    }
    Ok(())
}

fn yaml(applications: usize) -> String {
    (0..applications).map(|number| TEMPLATE.replace("NAME", &format!("app{number:03}"))).collect()
}

/// Milliseconds for reading, and for translating, 1,000 objects.
fn measure(environments: &[String]) -> Result<(f64, f64), Box<dyn Error>> {
    let (mut read, mut translated, mut count) = (Duration::ZERO, Duration::ZERO, 0);
    for yaml in environments {
        let begun = Instant::now();
        let objects = parse(yaml, "thousand.yaml")?;
        read += begun.elapsed();
        count += objects.len();
        let input = input(objects)?;
        let begun = Instant::now();
        let translation = translate(&input)
            .map_err(|errors| errors.iter().map(|error| format!("{error}\n")).collect::<String>())?;
        translated += begun.elapsed();
        black_box(translation);
    }
    Ok((per_thousand(read, count), per_thousand(translated, count)))
}

#[allow(clippy::cast_precision_loss, reason = "a count of objects is exact in an f64")]
fn per_thousand(took: Duration, objects: usize) -> f64 {
    took.as_secs_f64() * 1e3 * 1e3 / objects as f64
}

fn input(objects: Vec<Object>) -> Result<Input, Box<dyn Error>> {
    Ok(Input {
        objects,
        environment: Environment {
            name: "bench".to_owned(),
            namespace: "bench".to_owned(),
            project: "bench".to_owned(),
            loopback: None,
            labels: [("dev.envctl.owner".to_owned(), "bench".to_owned())].into(),
        },
        network: Network { name: "bench".to_owned(), subnet: "10.64.0.0/20".parse()? },
        // The oldest Engine, for which there is most to do.
        engine: EngineFacts {
            api_version: (1, 41),
            compose_version: (2, 30, 0),
            cpus: 2.0,
            memory_bytes: 8 << 30,
        },
        agent_image: "envctl-agent:bench".to_owned(),
        router: Some(Router {
            network: "envctl-router-8080".to_owned(),
            http_port: 8080,
            control: "envctl-router:4".to_owned(),
        }),
        warden: Warden::At {
            socket: "/var/run/docker.sock".to_owned(),
            lock: "lock".to_owned(),
            expires: None,
        },
        backing: None,
        stage: Stage::Install,
        missing_references: MissingReferences::Deny,
        host_files: Some("/var/lib/envctl/files".into()),
        live: Vec::new(),
        certificate: None,
        replacing: Default::default(),
    })
}
