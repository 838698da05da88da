//! The file that says what the load sends.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use envctl_model::Diagnostic;
use envctl_model::yaml::{self, span_of};
use http::header::HOST;
use http::{HeaderName, HeaderValue, Method, Request, Uri};
use http_body_util::Full;
use serde::Deserialize;
use serde_yaml::Spanned;

use super::template::Template;

/// What the load sends.
///
/// ```yaml
/// requests:
///   - {name: list, weight: 9, path: /albums}
///   - {name: upload, method: POST, path: "/photos/{{ id }}", bodySize: 20000, expect: 201}
/// control: {every: 100, request: {name: nobody, path: /no-such-page}}
/// ```
///
/// In `path`, `headers` and `body`, `{{ n }}` is the request's number and `{{ id }}` its id. A body is `body`, the content
/// of `bodyFile` (from the directory of the mix), or `bodySize` bytes. `control` is a request that fails: every so many
/// requests it is sent, and has to be counted as failed.
#[derive(Debug, Clone)]
pub struct Mix {
    pub(crate) requests: Vec<MixRequest>,
    pub(super) control: Option<Control>,
}

/// One request of a mix.
#[derive(Debug, Clone)]
pub(crate) struct MixRequest {
    pub(crate) name: String,
    pub(crate) weight: u32,
    pub(crate) method: Method,
    pub(super) path: Template,
    pub(super) headers: Vec<(HeaderName, Template)>,
    pub(super) body: Body,
    pub(crate) expect: u16,
}

impl MixRequest {
    /// The request of this number and id.
    pub(crate) fn render(&self, n: u64, id: &str, host: &HeaderValue) -> Request<Full<Bytes>> {
        let body = match &self.body {
            Body::Bytes(bytes) => bytes.clone(),
            Body::Text(template) => template.render(n, id).into(),
        };
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = self.method.clone();
        // The mix was read with such a path, and no placeholder becomes what a path cannot have.
        *request.uri_mut() = self.path.render(n, id).parse().unwrap_or(Uri::from_static("/"));
        let headers = request.headers_mut();
        for (name, value) in &self.headers {
            // The mix was read with such a value, and no placeholder becomes what a header cannot have.
            if let Ok(value) = HeaderValue::from_str(&value.render(n, id)) {
                headers.insert(name.clone(), value);
            }
        }
        headers.entry(HOST).or_insert_with(|| host.clone());
        if let Ok(id) = HeaderValue::from_str(id) {
            headers.insert("x-request-id", id);
        }
        request
    }
}

/// What a request carries.
#[derive(Debug, Clone)]
pub(super) enum Body {
    Bytes(Bytes),
    Text(Template),
}

/// The known bad request.
#[derive(Debug, Clone)]
pub(super) struct Control {
    pub(super) every: u64,
    pub(super) request: MixRequest,
}

/// A mix that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum MixError {
    /// The file cannot be read.
    #[error("cannot read the requests of the load in {path}: {error}")]
    Io {
        /// The file.
        path: String,
        /// Why.
        error: io::Error,
    },
    /// Something in it is wrong.
    #[error(transparent)]
    Wrong(#[from] Box<Diagnostic>),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct FileMix {
    requests: Spanned<Vec<FileRequest>>,
    control: Option<FileControl>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct FileControl {
    every: Spanned<u64>,
    request: FileRequest,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct FileRequest {
    name: String,
    weight: Option<u32>,
    method: Option<Spanned<String>>,
    path: Spanned<String>,
    #[serde(default)]
    headers: BTreeMap<String, Spanned<String>>,
    body: Option<Spanned<String>>,
    body_file: Option<Spanned<PathBuf>>,
    body_size: Option<Spanned<usize>>,
    expect: Option<Spanned<u16>>,
}

/// The largest `bodySize`: 64 MiB. It is held in memory as long as the load runs.
const LARGEST_BODY: usize = 64 << 20;

impl Mix {
    /// Reads a mix, and the files of its bodies.
    ///
    /// # Errors
    /// When a file cannot be read, or the first thing that is wrong, with its place.
    pub fn read(path: &Path) -> Result<Self, MixError> {
        let file = path.display().to_string();
        let source =
            std::fs::read_to_string(path).map_err(|error| MixError::Io { path: file.clone(), error })?;
        Ok(Self::parse(&file, &source, path.parent().unwrap_or(Path::new("")))?)
    }

    /// Parses a mix. Files of bodies are looked for in `directory`.
    ///
    /// # Errors
    /// The first thing that is wrong, with its place and, for misspelt keys, a suggestion.
    pub fn parse(file: &str, source: &str, directory: &Path) -> Result<Self, Box<Diagnostic>> {
        let mix: FileMix = yaml::read(file, source)?;
        let place = Place { file, source, directory };
        let empty = mix.requests.value.iter().all(|request| request.weight == Some(0));
        if empty {
            let help = "name at least one request with a weight above 0: a load of nothing proves nothing";
            return Err(place.wrong(&mix.requests, "there is nothing to send", help));
        }
        let requests =
            mix.requests.value.into_iter().map(|request| place.request(request)).collect::<Result<_, _>>()?;
        let control = mix.control.map(|control| place.control(control)).transpose()?;
        Ok(Self { requests, control })
    }

    /// How often the known bad request is sent: one of so many. None if the mix has none.
    #[must_use]
    pub fn control_every(&self) -> Option<u64> {
        self.control.as_ref().map(|control| control.every)
    }
}

/// Where a mix stands.
struct Place<'a> {
    file: &'a str,
    source: &'a str,
    directory: &'a Path,
}

impl Place<'_> {
    fn wrong<T>(&self, at: &Spanned<T>, message: impl Into<String>, help: &str) -> Box<Diagnostic> {
        Box::new(Diagnostic {
            message: message.into(),
            file: self.file.to_owned(),
            source: self.source.to_owned(),
            span: span_of(self.source, &at.referenced),
            label: String::new(),
            help: Some(help.to_owned()),
        })
    }

    fn control(&self, control: FileControl) -> Result<Control, Box<Diagnostic>> {
        if control.every.value == 0 {
            return Err(self.wrong(
                &control.every,
                "`every` is 0",
                "write 100 for one of a hundred requests",
            ));
        }
        Ok(Control { every: control.every.value, request: self.request(control.request)? })
    }

    fn request(&self, request: FileRequest) -> Result<MixRequest, Box<Diagnostic>> {
        let body = self.body(&request)?;
        let path = self.template(&request.path)?;
        // What a placeholder becomes has only letters, digits, hyphens and a dot.
        let whole = path.render(0, "0-0");
        if !whole.starts_with('/') || whole.parse::<http::uri::PathAndQuery>().is_err() {
            let message = format!("`{}` is no path", request.path.value);
            return Err(self.wrong(
                &request.path,
                message,
                "begin with `/`, and percent-encode what a URL cannot have",
            ));
        }
        let method = match &request.method {
            None => Method::GET,
            Some(word) => word.value.parse().map_err(|_| {
                self.wrong(word, format!("`{}` is no method", word.value), "write GET, POST, PUT, ...")
            })?,
        };
        let expect = request.expect.map_or(Ok(200), |expect| match expect.value {
            200..=599 => Ok(expect.value),
            other => {
                Err(self.wrong(&expect, format!("no answer has the status {other}"), "write 200 to 599"))
            }
        })?;
        Ok(MixRequest {
            headers: self.headers(&request.headers)?,
            weight: request.weight.unwrap_or(1),
            name: request.name,
            method,
            path,
            body,
            expect,
        })
    }

    fn headers(
        &self,
        given: &BTreeMap<String, Spanned<String>>,
    ) -> Result<Vec<(HeaderName, Template)>, Box<Diagnostic>> {
        let mut headers = Vec::new();
        for (name, value) in given {
            let help = "headers are as in HTTP: letters, digits and hyphens, then one line of text";
            let wrong = || self.wrong(value, format!("the header `{name}` cannot be sent"), help);
            let parsed: HeaderName = name.parse().map_err(|_| wrong())?;
            if parsed == "x-request-id"
                || parsed == http::header::CONTENT_LENGTH
                || parsed == http::header::CONNECTION
            {
                let help = "leave it out: the load sets it for each request";
                return Err(self.wrong(value, format!("the header `{name}` is the load's own"), help));
            }
            let value = self.template(value)?;
            HeaderValue::from_str(&value.render(0, "0-0")).map_err(|_| wrong())?;
            headers.push((parsed, value));
        }
        Ok(headers)
    }

    fn body(&self, request: &FileRequest) -> Result<Body, Box<Diagnostic>> {
        match (&request.body, &request.body_file, &request.body_size) {
            (None, None, None) => Ok(Body::Bytes(Bytes::new())),
            (Some(text), None, None) => Ok(Body::Text(self.template(text)?)),
            (None, Some(file), None) => {
                let path = self.directory.join(&file.value);
                std::fs::read(&path).map(|content| Body::Bytes(content.into())).map_err(|error| {
                    let message = format!("cannot read {}: {error}", path.display());
                    self.wrong(file, message, "paths are from the directory of this file")
                })
            }
            (None, None, Some(size)) if size.value > LARGEST_BODY => {
                let message = format!("{} bytes are more than a load can send", size.value);
                Err(self.wrong(size, message, "write at most 67108864, which is 64 MiB"))
            }
            (None, None, Some(size)) => Ok(Body::Bytes(vec![b'x'; size.value].into())),
            _ => {
                let message = format!("request `{}` has more than one body", request.name);
                Err(self.wrong(&request.path, message, "keep one of `body`, `bodyFile` and `bodySize`"))
            }
        }
    }

    fn template(&self, text: &Spanned<String>) -> Result<Template, Box<Diagnostic>> {
        let help = "write {{ n }} for the request's number, {{ id }} for its id";
        Template::parse(&text.value).map_err(|error| self.wrong(text, error.to_string(), help))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(source: &str) -> String {
        Mix::parse("mix.yaml", source, Path::new("/nonexistent")).unwrap_err().to_string()
    }

    #[test]
    fn a_whole_mix_is_read() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("photo.jpg"), b"\xff\xd8").unwrap();
        let source = "
requests:
  - {name: list, weight: 9, path: /albums, headers: {accept: text/html}}
  - {name: upload, method: PUT, path: '/photos/{{ id }}', bodyFile: photo.jpg, expect: 201}
  - {name: note, method: POST, path: /notes, headers: {Idempotency-Key: 'note-{{ id }}'}, body: 'note {{ n }}'}
control: {every: 100, request: {name: nobody, path: /no-such-page}}
";
        std::fs::write(directory.path().join("mix.yaml"), source).unwrap();
        let mix = Mix::read(&directory.path().join("mix.yaml")).unwrap();
        assert_eq!(mix.control_every(), Some(100));
        let [list, upload, note] = &mix.requests[..] else { panic!("{mix:?}") };
        let sent =
            |request: &MixRequest| request.render(4, "f-4", &HeaderValue::from_static("album.example"));
        assert_eq!((list.weight, list.expect), (9, 200));
        assert_eq!(sent(list).headers()["accept"], "text/html");
        assert_eq!(sent(note).headers()["idempotency-key"], "note-f-4");
        assert_eq!((&upload.method, upload.path.render(4, "f-4").as_str()), (&Method::PUT, "/photos/f-4"));
        assert!(matches!(&upload.body, Body::Bytes(bytes) if **bytes == *b"\xff\xd8"));
        assert!(matches!(&note.body, Body::Text(text) if text.render(4, "f-4") == "note 4"));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        let text = error("requests:\n  - {name: list, path: albums}\n");
        assert!(text.contains("`albums` is no path") && text.contains("mix.yaml:2"), "{text}");
        let text = error("requests:\n  - {name: list, paht: /albums}\n");
        assert!(text.contains("unknown key `paht`") && text.contains("did you mean `path`?"), "{text}");
        let text = error("requests:\n  - {name: a, path: '/{{ uuid }}'}\n");
        assert!(text.contains("there is no placeholder `uuid`"), "{text}");
        let text = error("requests:\n  - {name: a, path: /, body: x, bodySize: 3}\n");
        assert!(text.contains("request `a` has more than one body"), "{text}");
        let text = error("requests:\n  - {name: a, path: /, bodyFile: photo.jpg}\n");
        assert!(text.contains("cannot read /nonexistent/photo.jpg"), "{text}");
        let text = error("requests:\n  - {name: a, path: /, headers: {X-Request-Id: mine}}\n");
        assert!(text.contains("the header `X-Request-Id` is the load's own"), "{text}");
        assert!(error("requests:\n  - {name: a, path: /, method: 'G T'}\n").contains("`G T` is no method"));
        assert!(
            error("requests:\n  - {name: a, path: /, expect: 99}\n").contains("no answer has the status 99")
        );
        assert!(error("requests: []\n").contains("there is nothing to send"));
        assert!(
            error("requests:\n  - {name: a, path: /}\ncontrol: {every: 0, request: {name: b, path: /}}\n")
                .contains("`every` is 0")
        );
        assert!(
            error("requests:\n  - {name: a, path: /, bodySize: 99999999}\n")
                .contains("more than a load can send")
        );
    }
}
