//! What stands in the stack file, drawn up from what was found and rendered.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::backing::{ComposeFile, OfChart};
use super::builds::{self, Build, Matched};
use super::file::{Cluster, Content, Named, component, flow, input};
use super::found::{Chart, Found, Place, Root, ValuesFile, words};
use super::outside::{addresses, back};
use super::study::{HostValues, RELEASE, Study};
use super::todos::{anywhere, secret, todos};
use super::values::{Leaf, Overrides, leaf_at, leaves};
use super::{FULLNAME, shown};

/// What is known without rendering anything.
pub(super) struct Repository<'f> {
    /// Where it is.
    pub(super) dir: &'f Path,
    /// What was found in it.
    pub(super) found: &'f Found,
    /// The chart that is meant.
    pub(super) chart: &'f Chart,
    /// Its values files.
    pub(super) files: &'f [ValuesFile],
    /// What its objects are called.
    pub(super) fullname: Option<String>,
}

/// What will be written.
#[derive(Debug)]
pub(super) struct Drawn {
    /// The stack file.
    pub(super) content: Content,
    /// A Compose file with the backing services alone.
    pub(super) backing: Option<String>,
    /// What was found, each with what it is.
    pub(super) found: Vec<(&'static str, String)>,
}

impl Repository<'_> {
    /// Draws up a stack file from the values and what the chart renders to.
    pub(super) fn draw(&self, values: &Value, study: &Study) -> Drawn {
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
        if let Some(name) = &self.fullname {
            let shared = if study.is_cluster_wide { &mut local } else { &mut inputs };
            shared.set(values, &leaf_at(values, FULLNAME), name.as_str());
        }
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
                local.set(values, &leaf, format!("{{{{ terraform{} }}}}", member(&output)));
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
        Drawn { content, backing: own, found: drawn }
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
        let root =
            self.found.roots.iter().find(|root| !matches!(root.place, Place::Here | Place::Production));
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

/// How a template gets at a name: `.web`, or `['web-api']`, because after a dot the hyphen would be a minus.
fn member(name: &str) -> String {
    let is_plain = !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if is_plain { format!(".{name}") } else { format!("['{name}']") }
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
                inputs.set(values, leaf, format!("{{{{ image{}.{fact} }}}}", member(name)));
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
                    inputs.set(values, leaf, format!("{{{{ host{} }}}}", member(&name)));
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
pub(super) fn taken(values: &Value, root: &Root) -> Vec<(Leaf, String)> {
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

#[cfg(test)]
mod tests {
    use envctl_model::facts::Facts;

    use super::member;

    #[test]
    fn templates_get_at_names_of_every_form() {
        for name in ["web", "photo-album", "2nd", "web_api"] {
            let mut facts = Facts::new();
            facts.set(format!("image.{name}.tag"), "v1");
            let template = format!("{{{{ image{}.tag }}}}", member(name));
            let rendered = facts.render(&template).unwrap_or_else(|error| panic!("{template}: {error}"));
            assert_eq!(rendered.value, "v1", "{template}");
        }
    }
}
