//! An API server on the loopback interface that knows what was rendered last, so that a chart's
//! `lookup` finds the passwords it drew before.

use std::convert::Infallible;
use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::Full;
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;
use tokio::task::{AbortHandle, JoinSet};

use super::discovery::{Discovery, Kind, Resource, group};
use crate::private;

/// What the server knows.
#[derive(Debug)]
pub(super) struct World {
    pub(super) discovery: Discovery,
    objects: Vec<Value>,
    namespace: String,
    kube_version: String,
}

impl World {
    /// A cluster in which a release owns these objects.
    pub(super) fn new(release: &str, namespace: &str, kube_version: &str, objects: &[Value]) -> Self {
        let mut discovery = Discovery::recorded();
        let mut owned: Vec<Value> = objects.iter().map(|object| stored(object, release, namespace)).collect();
        for object in &owned {
            discovery.add(&kind_of(object));
        }
        owned.push(json!({
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": namespace, "labels": {"kubernetes.io/metadata.name": namespace}},
        }));
        Self {
            discovery,
            objects: owned,
            namespace: namespace.to_owned(),
            kube_version: kube_version.trim_start_matches('v').to_owned(),
        }
    }

    /// The answer to a GET.
    fn answer(&self, path: &str) -> Option<Value> {
        let words: Vec<&str> = path.split('/').filter(|word| !word.is_empty()).collect();
        match words.as_slice() {
            ["version"] => Some(self.version()),
            ["api"] => Some(self.discovery.core()),
            ["apis"] => Some(self.discovery.groups()),
            ["api", version] => self.discovery.list(version),
            ["apis", group, version] => self.discovery.list(&format!("{group}/{version}")),
            ["api", version, rest @ ..] => self.objects(version, rest),
            ["apis", group, version, rest @ ..] => self.objects(&format!("{group}/{version}"), rest),
            _ => None,
        }
    }

    fn version(&self) -> Value {
        let mut numbers = self.kube_version.split('.');
        json!({
            "major": numbers.next().unwrap_or("1"),
            "minor": numbers.next().unwrap_or("0"),
            "gitVersion": format!("v{}", self.kube_version),
            "platform": "linux/amd64",
        })
    }

    fn objects(&self, api_version: &str, path: &[&str]) -> Option<Value> {
        let (namespace, plural, name) = match *path {
            ["namespaces", namespace, plural] => (Some(namespace), plural, None),
            ["namespaces", namespace, plural, name] => (Some(namespace), plural, Some(name)),
            [plural] => (None, plural, None),
            [plural, name] => (None, plural, Some(name)),
            _ => return None,
        };
        let resources = self.discovery.resources(api_version)?;
        let resource = resources.iter().find(|resource| resource.plural == plural)?;
        let mut found = self.objects.iter().filter(|object| {
            let kind = kind_of(object);
            // One object can be read in every version of its group.
            kind.kind == resource.kind
                && group(&kind.api_version) == group(api_version)
                && namespace.is_none_or(|namespace| self.namespace_of(object, resource) == namespace)
        });
        let read = |object: &Value| {
            let mut object = object.clone();
            object["apiVersion"] = api_version.into();
            if resource.namespaced {
                object["metadata"]["namespace"] = self.namespace_of(&object, resource).into();
            }
            object
        };
        if let Some(name) = name {
            return found.find(|object| object["metadata"]["name"] == name).map(read);
        }
        let items: Vec<Value> = found.map(read).collect();
        Some(json!({
            "kind": format!("{}List", resource.kind),
            "apiVersion": api_version,
            "metadata": {"resourceVersion": "1"},
            "items": items,
        }))
    }

    fn namespace_of<'o>(&'o self, object: &'o Value, resource: &Resource) -> &'o str {
        if !resource.namespaced {
            return "";
        }
        let written = object["metadata"]["namespace"].as_str().filter(|name| !name.is_empty());
        written.unwrap_or(&self.namespace)
    }
}

fn kind_of(object: &Value) -> Kind {
    let text = |field: &str| object[field].as_str().unwrap_or_default().to_owned();
    Kind { api_version: text("apiVersion"), kind: text("kind") }
}

/// An object as an API server would give it back after Helm created it.
fn stored(object: &Value, release: &str, namespace: &str) -> Value {
    let mut object = object.clone();
    let Some(fields) = object.as_object_mut() else {
        return object;
    };
    // Secrets are written as text and read as base64.
    if fields.get("kind").is_some_and(|kind| kind == "Secret")
        && let Some(Value::Object(texts)) = fields.shift_remove("stringData")
    {
        let data = section(fields, "data");
        for (key, text) in texts {
            data.insert(key, STANDARD.encode(text.as_str().unwrap_or_default()).into());
        }
    }
    let metadata = section(fields, "metadata");
    // Found objects that the release does not own are refused.
    section(metadata, "labels").insert("app.kubernetes.io/managed-by".into(), "Helm".into());
    let annotations = section(metadata, "annotations");
    annotations.insert("meta.helm.sh/release-name".into(), release.into());
    annotations.insert("meta.helm.sh/release-namespace".into(), namespace.into());
    object
}

/// A map in a map, made where it is missing or null.
fn section<'m>(map: &'m mut Map<String, Value>, name: &str) -> &'m mut Map<String, Value> {
    let value = map.entry(name).or_insert(Value::Null);
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    match value {
        Value::Object(section) => section,
        _ => unreachable!("it was just made an object"),
    }
}

/// A running server; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Loopback {
    world: Arc<RwLock<World>>,
    directory: tempfile::TempDir,
    accepting: AbortHandle,
}

impl Loopback {
    /// Serves a world on a free port.
    ///
    /// The world holds secrets, and every process of this machine can reach the port. Helm sends
    /// no token over plain HTTP, so what lets it in is the path: a random word that stands in the
    /// kubeconfig, which only its owner can read.
    pub(super) async fn serve(world: World, scratch: Option<&Path>) -> io::Result<Self> {
        let mut builder = tempfile::Builder::new();
        builder.prefix("envctl-helm-");
        let directory = match scratch {
            Some(scratch) => {
                private::make_directory(scratch)?;
                builder.tempdir_in(scratch)?
            }
            None => builder.tempdir()?,
        };
        let key = random_word()?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let server = format!("http://{}/{key}", listener.local_addr()?);
        let kubeconfig = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "envctl", "cluster": {"server": server}}],
            "contexts": [{"name": "envctl", "context": {"cluster": "envctl", "user": "", "namespace": world.namespace}}],
            "current-context": "envctl",
        });
        private::write(&directory.path().join("kubeconfig"), kubeconfig.to_string().as_bytes())?;
        let world = Arc::new(RwLock::new(world));
        let served = world.clone();
        let accepting = tokio::spawn(accept(listener, format!("/{key}/"), served)).abort_handle();
        Ok(Self { world, directory, accepting })
    }

    /// The file that leads there.
    pub(super) fn kubeconfig(&self) -> PathBuf {
        self.directory.path().join("kubeconfig")
    }

    /// Where helm may keep what it discovered: the next server has another port, so what it kept
    /// under the user's home would pile up there.
    pub(super) fn cache(&self) -> PathBuf {
        self.directory.path().join("cache")
    }

    /// Adds kinds that a chart uses, and says whether any was new.
    pub(super) fn learn(&self, kinds: &[Kind]) -> bool {
        // What helm remembers of the discovery is out of date then.
        let _ = fs::remove_dir_all(self.cache());
        let mut world = self.world.write().unwrap_or_else(PoisonError::into_inner);
        kinds.iter().fold(false, |new, kind| world.discovery.add(kind) | new)
    }
}

impl Drop for Loopback {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// 128 random bits as a word.
fn random_word() -> io::Result<String> {
    use std::fmt::Write;
    use std::io::Read;
    let mut bytes = [0; 16];
    fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().fold(String::new(), |mut word, byte| {
        let _ = write!(word, "{byte:02x}");
        word
    }))
}

async fn accept(listener: TcpListener, prefix: String, world: Arc<RwLock<World>>) {
    // Dropped with this task, and with it all connections.
    let mut connections = JoinSet::new();
    let prefix: Arc<str> = prefix.into();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                // Out of file descriptors, most likely: helm will say that it got no answer.
                let Ok((stream, _)) = accepted else { return };
                let (world, prefix) = (world.clone(), prefix.clone());
                connections.spawn(async move {
                    let service = hyper::service::service_fn(move |request| {
                        let response = respond(&request, &prefix, &world);
                        async move { Ok::<_, Infallible>(response) }
                    });
                    let http = hyper::server::conn::http1::Builder::new();
                    // A client that hangs up early has got what it wanted.
                    let _ = http.serve_connection(TokioIo::new(stream), service).await;
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

fn respond<B>(request: &Request<B>, prefix: &str, world: &RwLock<World>) -> Response<Full<Bytes>> {
    let path = request.uri().path();
    let Some(path) = path.strip_prefix(prefix) else {
        return reply(StatusCode::FORBIDDEN, &status(StatusCode::FORBIDDEN, "Forbidden", "wrong path"));
    };
    if request.method() != Method::GET {
        let refusal =
            status(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", "nothing can be changed here");
        return reply(StatusCode::METHOD_NOT_ALLOWED, &refusal);
    }
    let world = world.read().unwrap_or_else(PoisonError::into_inner);
    match world.answer(path) {
        Some(found) => reply(StatusCode::OK, &found),
        None => {
            let missing = "the server could not find the requested resource";
            reply(StatusCode::NOT_FOUND, &status(StatusCode::NOT_FOUND, "NotFound", missing))
        }
    }
}

fn status(code: StatusCode, reason: &str, message: &str) -> Value {
    json!({
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        "code": code.as_u16(),
    })
}

fn reply(code: StatusCode, body: &Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body.to_string()));
    *response.status_mut() = code;
    let json = header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn world() -> World {
        let secret = json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "db", "labels": null},
            "data": {"user": "cm9vdA=="},
            "stringData": {"password": "hunter2"},
        });
        let scaler = json!({
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "web", "namespace": "other"},
        });
        let monitor = json!({
            "apiVersion": "monitoring.coreos.com/v1",
            "kind": "ServiceMonitor",
            "metadata": {"name": "web"},
        });
        World::new("album", "album-aki", "v1.35.4", &[secret, scaler, monitor])
    }

    #[test]
    fn a_secret_is_read_as_a_cluster_would_give_it() {
        let found = world().answer("api/v1/namespaces/album-aki/secrets/db").unwrap();
        assert_eq!(found["data"], json!({"user": "cm9vdA==", "password": "aHVudGVyMg=="}));
        assert_eq!(found.get("stringData"), None);
        assert_eq!(found["metadata"]["namespace"], "album-aki");
        assert_eq!(found["metadata"]["labels"]["app.kubernetes.io/managed-by"], "Helm");
        assert_eq!(found["metadata"]["annotations"]["meta.helm.sh/release-name"], "album");
    }

    #[test]
    fn namespaces_versions_and_lists_are_kept_apart() {
        let world = world();
        assert_eq!(world.answer("api/v1/namespaces/other/secrets/db"), None);
        let scaler = world.answer("apis/autoscaling/v1/namespaces/other/horizontalpodautoscalers/web");
        assert_eq!(scaler.unwrap()["apiVersion"], "autoscaling/v1");
        let secrets = world.answer("api/v1/secrets").unwrap();
        assert_eq!(
            (secrets["kind"].as_str(), secrets["items"].as_array().unwrap().len()),
            (Some("SecretList"), 1)
        );
        let empty = world.answer("apis/apps/v1/namespaces/album-aki/deployments").unwrap();
        assert_eq!(empty["items"], json!([]));
        assert!(world.answer("api/v1/namespaces/album-aki").is_some());
        assert_eq!(world.answer("api/v1/namespaces/elsewhere"), None);
        assert_eq!(world.answer("apis/no.such/v1"), None);
        assert!(world.answer("apis/monitoring.coreos.com/v1").is_some());
        assert_eq!(world.answer("version").unwrap()["minor"], "35");
    }

    #[tokio::test]
    async fn only_who_can_read_the_kubeconfig_gets_an_answer() {
        use std::os::unix::fs::PermissionsExt;
        use tokio::io::{AsyncReadExt, AsyncWriteExt};

        let loopback = Loopback::serve(world(), None).await.unwrap();
        let mode = fs::metadata(loopback.kubeconfig()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let text = fs::read_to_string(loopback.kubeconfig()).unwrap();
        let kubeconfig: Value = serde_json::from_str(&text).unwrap();
        let server = kubeconfig["clusters"][0]["cluster"]["server"].as_str().unwrap();
        let (address, key) = server.strip_prefix("http://").unwrap().split_once('/').unwrap();
        for (path, code) in [("/api/v1/secrets".to_owned(), "403"), (format!("/{key}/api/v1/secrets"), "200")]
        {
            let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
            let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut response = String::new();
            stream.read_to_string(&mut response).await.unwrap();
            assert!(response.starts_with(&format!("HTTP/1.1 {code}")), "{response}");
            assert_eq!(response.contains("aHVudGVyMg=="), code == "200");
        }
    }
}
