//! `init`: a stack file for a repository that has a chart.
//!
//! [`found`] looks at the files, [`study`] at what the chart renders to; the other modules bring the two
//! together, and [`file`] writes down what came out.

mod backing;
mod builds;
mod file;
mod found;
mod missing;
mod study;
mod values;
mod workloads;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use envctl_model::stack::StackFile;
use envctl_programs::helm::Template;
use envctl_programs::process::Supervisor;
use serde_json::{Value, json};

use self::backing::{Backing, ComposeFile, OfChart};
use self::builds::{Build, Matched};
use self::file::{Cluster, Content, Local, Named, component, flow, input};
use self::found::{Chart, Found, Place, Root, ValuesFile, words};
use self::study::{HostValues, RELEASE, Study, Subject};
use self::values::{Leaf, Overrides, leaves};
use crate::config::{Base, STACK_FILE};
use crate::ui::Failure;

/// Where the backing services go whose own file has more than them.
const BACKING_FILE: &str = "envctl.backing.yaml";

/// What was written.
#[derive(Debug)]
pub(crate) struct Written {
    /// The files. The stack file is the first.
    pub(crate) files: Vec<PathBuf>,
    /// What was found, each with what it is.
    pub(crate) found: Vec<(&'static str, String)>,
    /// What somebody has to fill in or look at.
    pub(crate) todos: Vec<String>,
}

/// Writes a stack file for the repository in the current directory.
///
/// # Errors
/// When there is one already, there is no chart or more than one, or Helm cannot render anything.
pub(crate) async fn write(base: &Base, chart: Option<&Path>) -> Result<Written, Failure> {
    let dir = &base.variables.current_dir;
    let path = dir.join(base.flags.stack.as_deref().unwrap_or(Path::new(STACK_FILE)));
    let dir = path.parent().unwrap_or(dir).to_owned();
    for file in [path.clone(), dir.join(BACKING_FILE)] {
        if file.exists() {
            return Err(Failure::Usage(format!(
                "{} is there already, and nothing was written\n  go on with it: envctl up",
                file.display()
            )));
        }
    }
    let found = found::look(&dir);
    let chart = choose(&found, &dir, chart)?;
    let files = found.values_of(chart);
    let at = |place: &Place| files.iter().filter(|file| file.place == *place).collect::<Vec<_>>();
    let (everywhere, here) = (at(&Place::Everywhere), at(&Place::Here));
    let layers: Vec<_> = everywhere.iter().chain(&here).map(|file| dir.join(&file.path)).collect();
    let chart_dir = dir.join(&chart.path);
    let mut template = Template::new(&base.programs.helm.value, &chart_dir, RELEASE, RELEASE);
    template.values = layers.clone();
    let values = study::layered(&chart_dir, &layers)?;
    let subject = Subject { name: chart.name.clone(), template, values };
    let root = found.roots.iter().find(|root| root.place == Place::Here);
    let outputs = root.map(|root| taken(&subject.values, root)).unwrap_or_default();
    let given: Vec<_> = outputs.iter().map(|(leaf, _)| leaf.clone()).collect();
    let study = study::study(&subject, &given, &Supervisor::default()).await?;
    let repository = Repository { dir: &dir, found: &found, chart, files: &files };
    let drawn = repository.draw(&subject.values, &study)?;
    store(&path, &dir, drawn)
}

/// The chart that is meant.
fn choose<'f>(found: &'f Found, dir: &Path, chosen: Option<&Path>) -> Result<&'f Chart, Failure> {
    if let Some(chosen) = chosen {
        let relative = chosen.strip_prefix(dir).unwrap_or(chosen);
        let wanted = found::joined(Path::new(""), &relative.display().to_string());
        return found.charts.iter().find(|chart| chart.path == wanted).ok_or_else(|| {
            Failure::Usage(format!("{} is not the directory of a chart{}", chosen.display(), listed(found)))
        });
    }
    match found.charts.as_slice() {
        [chart] => Ok(chart),
        [] => Err(Failure::Usage(format!(
            "there is no Helm chart below {}: no Chart.yaml that can be installed\n  \
             write {STACK_FILE} by hand for other manifests: `manifests: {{files: [..]}}` or `{{command: [..]}}`",
            dir.display()
        ))),
        _ => Err(Failure::Usage(format!("there is more than one chart: say which{}", listed(found)))),
    }
}

fn listed(found: &Found) -> String {
    found.charts.iter().map(|chart| format!("\n  envctl init --chart {}", shown(&chart.path))).collect()
}

fn shown(path: &Path) -> String {
    if path.as_os_str().is_empty() { ".".to_owned() } else { path.display().to_string() }
}

/// Writes what was drawn up. Nothing that is there is written over.
fn store(path: &Path, dir: &Path, drawn: Drawn) -> Result<Written, Failure> {
    let text = drawn.content.text()?;
    StackFile::parse(&shown(path), &text)?;
    let backing = drawn.backing.map(|text| (dir.join(BACKING_FILE), text));
    let files: Vec<_> = std::iter::once((path.to_owned(), text)).chain(backing).collect();
    for (path, text) in &files {
        let failed = |e| Failure::Failed(format!("cannot write {}: {e}", path.display()));
        let mut file = std::fs::File::create_new(path).map_err(failed)?;
        file.write_all(text.as_bytes()).map_err(failed)?;
    }
    let files = files.into_iter().map(|(path, _)| path).collect();
    Ok(Written { files, found: drawn.found, todos: drawn.content.todos })
}

/// What is known without rendering anything.
struct Repository<'f> {
    dir: &'f Path,
    found: &'f Found,
    chart: &'f Chart,
    files: &'f [ValuesFile],
}

/// What will be written.
#[derive(Debug)]
struct Drawn {
    content: Content,
    /// A Compose file with the backing services alone.
    backing: Option<String>,
    found: Vec<(&'static str, String)>,
}

impl Repository<'_> {
    fn draw(&self, values: &Value, study: &Study) -> Result<Drawn, Failure> {
        let project = envctl_model::name::label(&self.chart.name, 20);
        let compose = self.found.compose.iter().min_by_key(|path| path.components().count());
        let compose = compose.and_then(|path| ComposeFile::read(self.dir, path));
        let told = compose.as_ref().map(ComposeFile::contexts).unwrap_or_default();
        let dockerfiles = builds::dockerfiles(self.dir, &self.found.dockerfiles, &told);
        let matched = builds::match_up(dockerfiles, &study.images, &project);
        let of_chart = OfChart {
            dockerfiles: matched.builds.iter().map(|build| build.dockerfile.path.clone()).collect(),
            repositories: matched.builds.iter().map(|build| build.repository.clone()).collect(),
            services: study.services.clone(),
        };
        let backing = compose.as_ref().map(|file| file.backing(&of_chart));

        let mut content = Content {
            project: project.clone(),
            chart: flow(&shown(&self.chart.path).into()),
            values: self.values_at(&Place::Everywhere),
            missing: study.missing.clone(),
            components: study.components.iter().map(|(name, kind)| component(name, *kind)).collect(),
            secrets: study.secrets.iter().map(|(name, keys)| secret(&anywhere(name), keys)).collect(),
            production: self.values_at(&Place::Production),
            clusters: self.clusters(),
            ..Content::default()
        };
        let mut drawn = Vec::from([("chart", shown(&self.chart.path))]);
        let mut inputs = Overrides::default();
        let mut local = Overrides::default();
        set_images(&mut content, &mut inputs, values, &matched, &project);
        drawn.extend(content.builds.iter().zip(&matched.builds).map(|(named, build)| {
            let paths: Vec<_> = build.values.leaves().map(Leaf::to_string).collect();
            (
                "image",
                format!("{} from {} -> {}", named.name, shown(&build.dockerfile.path), paths.join(", ")),
            )
        }));
        let hosts = set_hosts(&mut content, &mut inputs, &mut local, values, study, &self.chart.name);
        drawn.extend(hosts.into_iter().map(|host| ("host", host)));
        let root = self.found.roots.iter().find(|root| root.place == Place::Here);
        if let Some(root) = root {
            drawn.push(("terraform", shown(&root.path)));
            set_terraform(&mut content, root);
            for (leaf, output) in taken(values, root) {
                local.set(values, &leaf, format!("{{{{ terraform.{output} }}}}"));
            }
        }
        let addresses = addresses(values, &[&inputs, &local], study, backing.as_ref());
        content.inputs = inputs.iter().map(|(path, value)| input(path, value)).collect();
        content.local.values = self.values_at(&Place::Here);
        content.local.inputs = local.iter().map(|(path, value)| input(path, value)).collect();
        content.local.addresses = addresses;
        let own = backing.zip(compose).and_then(|(backing, file)| {
            drawn.extend(back(&mut content.local, &backing));
            let is_part = !backing.left_out.is_empty() && !backing.services.is_empty();
            is_part.then(|| file.only(&backing.services, &project))
        });
        drawn.extend(
            study.components.iter().map(|(name, kind)| ("component", format!("{name} ({})", kind.as_str()))),
        );
        todos(&mut content, study, &matched);
        Ok(Drawn { content, backing: own, found: drawn })
    }

    fn values_at(&self, place: &Place) -> Option<String> {
        let files = self.files.iter().filter(|file| file.place == *place);
        let paths: Vec<Value> = files.map(|file| shown(&file.path).into()).collect();
        (!paths.is_empty()).then(|| flow(&paths.into()))
    }

    /// A cluster for each place that values or variables of Terraform are named after.
    fn clusters(&self) -> Vec<Cluster> {
        let mut places: Vec<&Place> = self.files.iter().map(|file| &file.place).collect();
        places.sort();
        places.dedup();
        let root = self.found.roots.iter().find(|root| root.place != Place::Here);
        let named = places.into_iter().filter_map(|place| match place {
            Place::Named(name) => Some((name, place)),
            _ => None,
        });
        let terraform = |name: &str, root: &Root| {
            let wanted = words(name);
            let of_place = |file: &&PathBuf| {
                file.file_stem().and_then(|stem| stem.to_str()).is_some_and(|stem| words(stem) == wanted)
            };
            let files: Vec<Value> =
                root.var_files.iter().filter(of_place).map(|file| shown(file).into()).collect();
            let mut fields = json!({"path": shown(&root.path)});
            if !files.is_empty() {
                fields["varFiles"] = files.into();
            }
            flow(&fields)
        };
        named
            .map(|(name, place)| Cluster {
                name: name.clone(),
                values: self.values_at(place),
                terraform: root.map(|root| terraform(name, root)),
            })
            .collect()
    }
}

/// Images that are built here, and the values that say so to the chart.
fn set_images(
    content: &mut Content,
    inputs: &mut Overrides,
    values: &Value,
    matched: &Matched,
    project: &str,
) {
    for Build { name, dockerfile, repository, values: image } in &matched.builds {
        for (leaves, fact) in [
            (&image.references, "reference"),
            (&image.repositories, "repository"),
            (&image.tags, "tagAndDigest"),
        ] {
            for leaf in leaves {
                inputs.set(values, leaf, format!("{{{{ image.{name}.{fact} }}}}"));
            }
        }
        // A name without an owner is one of the registry's own, or stands there until somebody knows better.
        let is_set = image.repositories.len() + image.references.len() > 0;
        let repository = match (is_set && !repository.contains('/'), name == project) {
            (true, true) => project.to_owned(),
            (true, false) => format!("{project}/{name}"),
            (false, _) => repository.clone(),
        };
        let mut fields = json!({"context": shown(&dockerfile.context)});
        if dockerfile.path != dockerfile.context.join("Dockerfile") {
            fields["dockerfile"] = shown(&dockerfile.path).into();
        }
        fields["repository"] = repository.into();
        content.builds.push(Named { name: name.clone(), fields: flow(&fields) });
    }
    content.dockerfiles_left = matched.left.iter().map(|dockerfile| shown(&dockerfile.path)).collect();
}

/// Gives each host of an Ingress a name of the environment's own; tells what leads to what.
fn set_hosts(
    content: &mut Content,
    inputs: &mut Overrides,
    local: &mut Overrides,
    values: &Value,
    study: &Study,
    chart: &str,
) -> Vec<String> {
    if let Some(switch) = &study.switch {
        local.set(values, switch, true);
    }
    let mut told = Vec::new();
    let mut names: Vec<String> = Vec::new();
    for host in &study.hosts {
        let service = if host.service.is_empty() || host.service == RELEASE { chart } else { &host.service };
        let first = host.host.split('.').next().filter(|first| !first.is_empty()).unwrap_or("web");
        let name = [service, first].into_iter().find(|name| !names.iter().any(|known| known == name));
        let name = name.map_or_else(|| format!("{service}-{}", names.len()), str::to_owned);
        let name = envctl_model::name::label(&name, 30);
        match &host.from {
            HostValues::Whole(from) => {
                for leaf in from {
                    inputs.set(values, leaf, format!("{{{{ host.{name} }}}}"));
                }
                told.push(format!("{name} -> {}", from.iter().map(Leaf::to_string).collect::<Vec<_>>().join(", ")));
            }
            HostValues::Domain(from) => {
                for leaf in from {
                    local.set(values, leaf, "{{ env.name }}.localhost");
                }
                told.push(format!("{first} -> {}", from.iter().map(Leaf::to_string).collect::<Vec<_>>().join(", ")));
            }
            HostValues::Nowhere => content.todos.push(format!(
                "host `{}` of an Ingress is in none of the chart's values, so every environment has the same: \
                 add a value for it",
                host.host
            )),
        }
        names.push(name);
    }
    told
}

/// The root that this machine uses, with its variables.
fn set_terraform(content: &mut Content, root: &Root) {
    content.local.terraform = Some(flow(&json!({"path": shown(&root.path)})));
    for name in root.declared.unset_variables() {
        let fact = match words(&name).join("-").as_str() {
            "environment" | "environment-name" | "env" | "env-name" | "name" => "env.name",
            "namespace" => "env.namespace",
            "owner" => "env.owner",
            _ => {
                content.local.vars_missing.push(name);
                continue;
            }
        };
        content.local.vars.push(input(&name, &format!("{{{{ {fact} }}}}").into()));
    }
}

/// The values that are called like an output of the root, with that output: `database_host` is
/// `database.host`, and `bucket` the only empty value that ends so.
fn taken(values: &Value, root: &Root) -> Vec<(Leaf, String)> {
    let all: Vec<_> = leaves(values).into_iter().map(|leaf| (words(&leaf.to_string()), leaf)).collect();
    let mut taken = Vec::new();
    for output in root.declared.outputs() {
        let name = words(&output);
        let same = all.iter().filter(|(words, _)| *words == name);
        let ends_so = all.iter().filter(|(words, leaf)| leaf.text() == Some("") && words.ends_with(&name));
        match (same.collect::<Vec<_>>().as_slice(), ends_so.collect::<Vec<_>>().as_slice()) {
            ([(_, leaf)], _) | ([], [(_, leaf)]) => taken.push((leaf.clone(), output)),
            _ => {}
        }
    }
    taken
}

/// Values that look like addresses and lead to nothing that is known.
fn addresses(values: &Value, set: &[&Overrides], study: &Study, backing: Option<&Backing>) -> Vec<String> {
    const KEYS: [&str; 8] = ["host", "hostname", "url", "uri", "endpoint", "address", "addr", "server"];
    let services = backing.map(|backing| &backing.services);
    let is_known = |text: &str| {
        let parts = words(text);
        let mut known = study.services.iter().chain(services.into_iter().flat_map(BTreeMap::keys));
        known.any(|name| text == name || words(name).iter().all(|word| parts.contains(word)))
            || ["localhost", "127", "0"].iter().any(|own| parts.first().is_some_and(|first| first == own))
    };
    let is_set = |leaf: &Leaf| {
        let path = leaf.to_string();
        set.iter()
            .flat_map(|set| set.iter())
            .any(|(set, _)| path == set || path.starts_with(&format!("{set}[")))
    };
    let stand_ins = services.filter(|services| !services.is_empty()).map(|services| {
        format!(
            "; which backing service stands in for it? {}",
            services.keys().cloned().collect::<Vec<_>>().join(", ")
        )
    });
    leaves(values)
        .into_iter()
        .filter(|leaf| words(leaf.key()).last().is_some_and(|word| KEYS.contains(&word.as_str())))
        .filter(|leaf| {
            leaf.text().is_some_and(|text| !is_known(text) && (!text.is_empty() || stand_ins.is_some()))
        })
        .filter(|leaf| !is_set(leaf) && !study.missing.contains(&leaf.to_string()))
        .map(|leaf| {
            // What stands before an `@` is a password, most likely.
            let now = leaf.text().and_then(|text| text.rsplit('@').next()).unwrap_or_default();
            format!(
                "{leaf}: \"\"  # TODO is {} now{}",
                Value::from(now),
                stand_ins.as_deref().unwrap_or_default()
            )
        })
        .collect()
}

/// Notes what backs the environments.
fn back(local: &mut Local, backing: &Backing) -> Vec<(&'static str, String)> {
    let with_ports = |(name, ports): (&String, &Vec<String>)| match ports.as_slice() {
        [] => name.clone(),
        ports => format!("{name}:{}", ports.join(",")),
    };
    local.services = backing.services.iter().map(with_ports).collect::<Vec<_>>().join(", ");
    local.left_out = backing.left_out.iter().map(|(name, why)| format!("{name}, {why}")).collect();
    if backing.services.is_empty() {
        return Vec::new();
    }
    let file = if backing.left_out.is_empty() { shown(&backing.from) } else { BACKING_FILE.to_owned() };
    let told = format!("{} from {}", local.services, shown(&backing.from));
    local.backing = Some(flow(&file.into()));
    vec![("backing", told)]
}

/// A name that is made of the release's, which is the environment's, as one may say it.
fn anywhere(name: &str) -> String {
    match name.strip_prefix(RELEASE) {
        Some(rest) if rest.is_empty() || rest.starts_with('-') => format!("ENVIRONMENT{rest}"),
        _ => name.to_owned(),
    }
}

/// `album-db: {password: {generate: 24}}`
fn secret(name: &str, keys: &std::collections::BTreeSet<String>) -> String {
    let keys: Vec<&str> =
        if keys.is_empty() { vec!["KEY"] } else { keys.iter().map(String::as_str).collect() };
    let keys: serde_json::Map<String, Value> =
        keys.into_iter().map(|key| (key.to_owned(), json!({"generate": 24}))).collect();
    input(name, &keys.into())
}

/// What somebody has to do before this works.
fn todos(content: &mut Content, study: &Study, matched: &Matched) {
    let mut todos = std::mem::take(&mut content.todos);
    if !study.missing.is_empty() {
        todos.push(format!(
            "values that the chart requires: {}; set them in `inputs.values`",
            study.missing.join(", ")
        ));
    }
    if let Some(failed) = &study.failed {
        let said = failed.lines().map(str::trim).find(|line| line.starts_with("Error:")).unwrap_or(failed);
        let said = said.trim_start_matches("Error:").trim();
        todos.push(format!(
            "Helm cannot render the chart, so images, hosts and components were not found: {said}"
        ));
    }
    for (name, keys) in &study.secrets {
        let keys = keys.iter().cloned().collect::<Vec<_>>().join(", ");
        let keys = if keys.is_empty() { String::new() } else { format!(" ({keys})") };
        todos.push(format!(
            "Secret {name}{keys}: pods read it, and the chart does not make it; fill in `secrets`"
        ));
    }
    for build in matched.builds.iter().filter(|build| !build.values.without_tag.is_empty()) {
        let leaves: Vec<_> = build.values.without_tag.iter().map(Leaf::to_string).collect();
        todos.push(format!(
            "image `{}`: no value beside {} is its tag, so the chart cannot be told which one was built: add one",
            build.name,
            leaves.join(", ")
        ));
    }
    if study.failed.is_none() {
        for dockerfile in matched.left.iter().filter(|dockerfile| !dockerfile.in_compose) {
            todos.push(format!(
                "{}: which image of the chart it makes is not clear; add it to `images`, or leave it out",
                shown(&dockerfile.path)
            ));
        }
    }
    if !content.local.vars_missing.is_empty() {
        let names = content.local.vars_missing.join(", ");
        todos.push(format!(
            "variables that the Terraform root requires: {names}; set them in `inputs.terraform.vars`"
        ));
    }
    if !content.local.addresses.is_empty() {
        todos.push(
            "values that look like addresses outside of the chart: see `inputs` of target `local`".to_owned(),
        );
    }
    content.todos = todos;
}
