//! Inputs for translations, and Compose to judge their results.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Output};

use envctl_wire::{CONFIG_VARIABLE, SeedConfig};
use serde::de::DeserializeOwned;
use serde_json::Value;

use envctl_translate::{
    EngineFacts, Environment, Input, Loopback, MissingReferences, Network, Object, Router, Stage,
    TranslateError, Translation, Warden, parse, translate,
};

/// Debian 12's Engine.
pub(crate) const OLD_ENGINE: EngineFacts =
    EngineFacts { api_version: (1, 41), compose_version: (5, 6, 0), cpus: 2.0, memory_bytes: 8 << 30 };
/// An Engine that mounts sub paths.
pub(crate) const NEW_ENGINE: EngineFacts = EngineFacts { api_version: (1, 48), ..OLD_ENGINE };

pub(crate) fn input(objects: Vec<Object>, engine: EngineFacts) -> Input {
    Input {
        objects,
        environment: Environment {
            name: "album-aki".to_owned(),
            namespace: "dev-alice".to_owned(),
            project: "envctl-album-aki".to_owned(),
            labels: [("dev.envctl.owner".to_owned(), "aki".to_owned())].into(),
            loopback: Some(Loopback::of("album-aki")),
        },
        network: Network { name: "envctl-album-aki".to_owned(), subnet: "172.30.0.0/20".parse().unwrap() },
        engine,
        agent_image: "envctl-agent:test".to_owned(),
        router: Some(Router {
            network: "envctl-router".to_owned(),
            http_port: 8080,
            control: "envctl-router:4".to_owned(),
        }),
        warden: Warden::At {
            socket: "/var/run/docker.sock".to_owned(),
            lock: "envctl-lock-album-aki".to_owned(),
            expires: None,
        },
        backing: None,
        stage: Stage::Install,
        missing_references: MissingReferences::Deny,
        host_files: Some(PathBuf::from("/var/lib/envctl/files")),
        live: Vec::new(),
        certificate: None,
        replacing: BTreeMap::new(),
    }
}

pub(crate) fn try_translate(yaml: &str) -> Result<Translation, Vec<TranslateError>> {
    translate(&input(parse(yaml, "test.yaml").unwrap(), OLD_ENGINE))
}

pub(crate) fn translated(yaml: &str) -> Translation {
    try_translate(yaml).unwrap()
}

/// The errors of a translation, one a line.
pub(crate) fn errors(yaml: &str) -> Vec<String> {
    try_translate(yaml).expect_err("must not translate").iter().map(ToString::to_string).collect()
}

/// A service of the Compose file.
pub(crate) fn service<'t>(translation: &'t Translation, name: &str) -> &'t Value {
    let service = &translation.compose["services"][name];
    assert!(service.is_object(), "no service {name} in {:#}", translation.compose["services"]);
    service
}

/// What the agent is told by a variable of a service.
pub(crate) fn config<T: DeserializeOwned>(translation: &Translation, name: &str) -> T {
    let text = service(translation, name)["environment"][CONFIG_VARIABLE].as_str().unwrap();
    serde_json::from_str(&text.replace("$$", "$")).unwrap()
}

/// What a pod's seeder is told.
pub(crate) fn seed(translation: &Translation, pod: &str) -> SeedConfig {
    let text = translation.compose["configs"][format!("{pod}.envctl-seed")]["content"].as_str().unwrap();
    serde_json::from_str(&text.replace("$$", "$")).unwrap()
}

/// `code path` of the findings of an object.
pub(crate) fn findings(translation: &Translation, object: &str) -> Vec<String> {
    let of_object = translation.findings.iter().filter(|finding| finding.object == object);
    of_object.map(|finding| format!("{} {}", finding.code, finding.path).trim_end().to_owned()).collect()
}

/// The pod hashes by pod.
pub(crate) fn hashes(translation: &Translation) -> BTreeMap<String, String> {
    translation.pods.iter().map(|pod| (pod.name.clone(), pod.hash.clone())).collect()
}

/// Docker Compose, if this machine has it.
pub(crate) struct Compose {
    program: Vec<PathBuf>,
}

impl Compose {
    pub(crate) fn find() -> Option<Self> {
        let own = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../.tools/bin/docker-compose");
        let named = std::env::var_os("ENVCTL_TEST_COMPOSE").map(PathBuf::from);
        let candidates =
            named.into_iter().chain([own, PathBuf::from("docker-compose")]).map(|program| vec![program]);
        candidates
            .chain([vec![PathBuf::from("docker"), PathBuf::from("compose")]])
            .map(|program| Self { program })
            .find(Self::works)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program[0]);
        command.args(&self.program[1..]);
        command
    }

    fn works(&self) -> bool {
        self.command().arg("version").output().is_ok_and(|output| output.status.success())
    }

    /// `compose config` of a file.
    pub(crate) fn config(&self, translation: &Translation) -> Output {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("compose.json");
        std::fs::write(&file, translation.compose.to_string()).unwrap();
        self.command().arg("-f").arg(&file).args(["config", "--format", "json"]).output().unwrap()
    }
}
