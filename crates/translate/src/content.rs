//! The files of ConfigMap, Secret, downward API and projected volumes.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use envctl_model::finding::Severity;
use envctl_wire::SeedFile;

use crate::cursor::{Cursor, Remark};
use crate::downward::Downward;
use crate::store::{Reference, Source, Store};

const DEFAULT_MODE: u32 = 0o644;

/// Files by path: a later source of a projected volume wins.
pub(crate) type Files = BTreeMap<String, SeedFile>;

/// The content of a volume, if it is one of the kinds that have content.
pub(crate) fn files<'a>(
    volume: &Cursor<'a>,
    downward: &Downward<'_, 'a>,
    store: &Store<'a>,
) -> Option<Files> {
    let mut files = Files::new();
    let (config_map, secret) = (volume.get("configMap"), volume.get("secret"));
    let (downward_api, projected) = (volume.get("downwardAPI"), volume.get("projected"));
    if config_map.present() {
        let reference = Reference::read(&config_map, "name");
        keys(Source::ConfigMap, &reference, default_mode(&config_map), downward, store, &mut files);
    } else if secret.present() {
        let reference = Reference::read(&secret, "secretName");
        keys(Source::Secret, &reference, default_mode(&secret), downward, store, &mut files);
    } else if downward_api.present() {
        fields(&downward_api, default_mode(&downward_api), downward, &mut files);
    } else if projected.present() {
        let mode = default_mode(&projected);
        for source in projected.get("sources").items() {
            self::source(&source, mode, downward, store, &mut files);
        }
    } else {
        return None;
    }
    Some(files)
}

fn source<'a>(
    source: &Cursor<'a>,
    mode: u32,
    downward: &Downward<'_, 'a>,
    store: &Store<'a>,
    files: &mut Files,
) {
    for (kind, at) in source.entries() {
        match kind {
            "configMap" => {
                keys(Source::ConfigMap, &Reference::read(&at, "name"), mode, downward, store, files)
            }
            "secret" => keys(Source::Secret, &Reference::read(&at, "name"), mode, downward, store, files),
            "downwardAPI" => fields(&at, mode, downward, files),
            "serviceAccountToken" => {
                let path = at.get("path").required();
                at.take();
                at.remark(
                    Remark::dropped(
                        Severity::Major,
                        "no-api-server",
                        "the token is a placeholder: there is no API server",
                    )
                    .fix("do not call the Kubernetes API from this pod locally"),
                );
                put(files, path, 0o600, b"no-api-server");
            }
            _ => {
                at.take();
                at.remark(Remark::dropped(
                    Severity::Critical,
                    "volume-source",
                    format!("`{kind}` gives no files here"),
                ));
            }
        }
    }
}

fn default_mode(at: &Cursor<'_>) -> u32 {
    at.get("defaultMode").number().unwrap_or(DEFAULT_MODE)
}

fn put(files: &mut Files, path: &str, mode: u32, content: &[u8]) {
    let file = SeedFile { path: path.to_owned(), mode, uid: None, content: STANDARD.encode(content) };
    files.insert(path.to_owned(), file);
}

fn keys<'a>(
    source: Source,
    reference: &Reference<'_, 'a>,
    mode: u32,
    downward: &Downward<'_, 'a>,
    store: &Store<'a>,
    files: &mut Files,
) {
    let namespace = &downward.pod.namespace;
    let items = reference.at.get("items");
    if !items.present() {
        for (key, content) in store.find(source, namespace, reference).into_iter().flatten() {
            put(files, key, mode, content);
        }
        return;
    }
    for item in items.items() {
        let key = item.get("key").required();
        let path = item.get("path");
        let mode = item.get("mode").number().unwrap_or(mode);
        let Some(path) = inside(&path, path.required()) else {
            continue;
        };
        if let Some(content) = store.value(source, namespace, &Reference { at: &item, ..*reference }, key) {
            put(files, &path, mode, content);
        }
    }
}

fn fields<'a>(at: &Cursor<'a>, mode: u32, downward: &Downward<'_, 'a>, files: &mut Files) {
    for item in at.get("items").items() {
        let path = item.get("path");
        let Some(path) = inside(&path, path.required()) else {
            continue;
        };
        let (field, resource) = (item.get("fieldRef"), item.get("resourceFieldRef"));
        let content =
            if field.present() { downward.field(&field) } else { downward.resource(&resource, None) };
        let mode = item.get("mode").number().unwrap_or(mode);
        put(files, &path, mode, content.unwrap_or_default().as_bytes());
    }
}

/// A relative path without `.` and empty elements; `..` is an error, as for the API server.
pub(crate) fn inside(at: &Cursor<'_>, path: &str) -> Option<String> {
    let elements: Vec<&str> =
        path.split('/').filter(|element| !element.is_empty() && *element != ".").collect();
    if path.starts_with('/') || elements.contains(&"..") {
        at.invalid(path, "a path inside of the volume");
        return None;
    }
    Some(elements.join("/"))
}
