//! What a root module says in its files, before Terraform runs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use hcl::eval::{Context, Evaluate};
use hcl::{Body, Expression};
use serde_json::{Map, Value};

use super::configuration::{body, is_configuration};
use super::plan::{ProviderConfig, Setting};

/// A root module's files.
#[derive(Debug, Clone, Default)]
pub struct Declared {
    bodies: Vec<Body>,
    /// Variables that other files set.
    set_by_files: BTreeSet<String>,
}

impl Declared {
    /// Reads the files, and those of variables that Terraform is told to read. What cannot be read or parsed
    /// is left to Terraform, which says it better.
    #[must_use]
    pub fn read<'p>(root: &Path, var_files: impl IntoIterator<Item = &'p Path>) -> Self {
        let mut declared = Self::default();
        for path in var_files {
            declared.set_by_files.extend(keys(path, &fs::read_to_string(path).unwrap_or_default()));
        }
        let entries = fs::read_dir(root).into_iter().flatten();
        for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
            let Ok(text) = fs::read_to_string(&path) else { continue };
            if is_configuration(&path) {
                declared.bodies.extend(body(&path, &text));
            } else if is_variables(&path) {
                declared.set_by_files.extend(keys(&path, &text));
            }
        }
        declared
    }

    /// The names of its outputs.
    #[must_use]
    pub fn outputs(&self) -> Vec<String> {
        let outputs: BTreeSet<_> = self.blocks("output").filter_map(|(label, _)| label).collect();
        outputs.into_iter().map(str::to_owned).collect()
    }

    /// Whether it is made to be run, and not only to be a part of another module: it says where its state
    /// is, or configures a provider.
    #[must_use]
    pub fn is_root(&self) -> bool {
        let keeps =
            |body: &Body| body.blocks().any(|block| ["backend", "cloud"].contains(&block.identifier()));
        self.blocks("provider").next().is_some() || self.blocks("terraform").any(|(_, body)| keeps(body))
    }

    /// The local modules that are parts of it, as written: `../modules/network`.
    #[must_use]
    pub fn modules(&self) -> Vec<String> {
        let sources = self.blocks("module").flat_map(|(_, body)| body.attributes());
        let local = sources.filter(|attribute| attribute.key() == "source").filter_map(|source| match source
            .expr()
        {
            Expression::String(source) if source.starts_with('.') => Some(source.clone()),
            _ => None,
        });
        local.collect()
    }

    /// The variables that somebody has to set: they have no default, and no file sets them.
    #[must_use]
    pub fn unset_variables(&self) -> Vec<String> {
        let has_default = |body: &Body| body.attributes().any(|attribute| attribute.key() == "default");
        let unset =
            self.blocks("variable").filter(|(_, body)| !has_default(body)).filter_map(|(name, _)| name);
        unset.filter(|name| !self.set_by_files.contains(*name)).map(str::to_owned).collect()
    }

    /// The settings of its backend that are plain texts. Terraform allows nothing else there.
    #[must_use]
    pub fn backend(&self) -> BTreeMap<String, String> {
        let backends = self.blocks("terraform").flat_map(|(_, terraform)| terraform.blocks());
        let backends = backends.filter(|block| block.identifier() == "backend");
        let settings = backends.flat_map(|backend| backend.body().attributes());
        let texts = settings.filter_map(|setting| match setting.expr() {
            Expression::String(text) => Some((setting.key().to_owned(), text.clone())),
            _ => None,
        });
        texts.collect()
    }

    /// How its providers are configured in a workspace with these variables, as far as that is certain. What
    /// a plan tells of them is more: it knows functions, data, and modules.
    #[must_use]
    pub fn providers(&self, workspace: &str, given: &Map<String, Value>) -> Vec<ProviderConfig> {
        let context = self.context(workspace, given);
        let mut sources = BTreeMap::new();
        for (_, terraform) in self.blocks("terraform") {
            flatten(terraform, "", &context, &mut sources);
        }
        let source = |name: &str| {
            let stated = match sources.get(&format!("required_providers.{name}.source")) {
                Some(Setting::Known(Value::String(source))) => source.clone(),
                _ => format!("hashicorp/{name}"),
            };
            // Terraform's own registry is meant where none is named.
            if stated.split('/').count() > 2 { stated } else { format!("registry.terraform.io/{stated}") }
        };
        let providers = self.blocks("provider").filter_map(|(name, body)| {
            let mut settings = BTreeMap::new();
            flatten(body, "", &context, &mut settings);
            let name = name?;
            let key = match settings.remove("alias") {
                Some(Setting::Known(Value::String(alias))) => format!("{name}.{alias}"),
                _ => name.to_owned(),
            };
            Some(ProviderConfig { key, source: source(name), settings })
        });
        providers.collect()
    }

    /// The expression of a provider's setting, as Terraform's console takes it: of `aws.other`, say,
    /// `assume_role.role_arn`.
    #[must_use]
    pub fn expression(&self, provider: &str, setting: &str) -> Option<String> {
        let mut body = self.provider(provider)?;
        let mut path: Vec<_> = setting.split('.').collect();
        let attribute = path.pop()?;
        for block in path {
            body = body.blocks().find(|inner| inner.identifier() == block)?.body();
        }
        let found = body.attributes().find(|found| found.key() == attribute)?;
        hcl::format::to_string(found.expr()).ok()
    }

    fn provider(&self, provider: &str) -> Option<&Body> {
        let (name, alias) =
            provider.split_once('.').map_or((provider, None), |(name, alias)| (name, Some(alias)));
        let is_it = |body: &Body| {
            let stated = body.attributes().find(|attribute| attribute.key() == "alias");
            match stated.map(|stated| stated.expr()) {
                Some(Expression::String(stated)) => Some(stated.as_str()) == alias,
                Some(_) => false,
                None => alias.is_none(),
            }
        };
        let mut bodies = self.blocks("provider").filter(|(label, body)| *label == Some(name) && is_it(body));
        bodies.next().map(|(_, body)| body)
    }

    /// The blocks of a provider, such as `assume_role`, that are there once for each of something, each with the expression
    /// of that: plans do not tell of them.
    #[must_use]
    pub fn dynamic(&self, provider: &str) -> Vec<(String, String)> {
        let Some(body) = self.provider(provider) else { return Vec::new() };
        let dynamic = body.blocks().filter(|block| block.identifier() == "dynamic");
        let named = dynamic.filter_map(|block| {
            let each = block.body().attributes().find(|attribute| attribute.key() == "for_each")?;
            let expression = hcl::format::to_string(each.expr()).ok()?;
            Some((block.labels().first()?.as_str().to_owned(), expression))
        });
        named.collect()
    }

    fn blocks<'d>(&'d self, kind: &'d str) -> impl Iterator<Item = (Option<&'d str>, &'d Body)> {
        let blocks =
            self.bodies.iter().flat_map(Body::blocks).filter(move |block| block.identifier() == kind);
        blocks.map(|block| (block.labels().first().map(hcl::BlockLabel::as_str), block.body()))
    }

    /// The variables and local values that are certain.
    fn context(&self, workspace: &str, given: &Map<String, Value>) -> Context<'_> {
        let mut context = Context::new();
        context.declare_var(
            "terraform",
            hcl::Map::from_iter([("workspace".to_owned(), hcl::Value::from(workspace))]),
        );
        let mut variables = hcl::Map::new();
        for (name, body) in self.blocks("variable") {
            let Some(name) = name else { continue };
            let default = body.attributes().find(|attribute| attribute.key() == "default");
            let value = match given.get(name) {
                Some(value) => hcl::to_value(value).ok(),
                None if self.set_by_files.contains(name) => None,
                None => default.and_then(|default| default.expr().evaluate(&context).ok()),
            };
            variables.extend(value.map(|value| (name.to_owned(), value)));
        }
        context.declare_var("var", variables);
        let locals = self.blocks("locals").flat_map(|(_, body)| body.attributes());
        let mut open: Vec<_> = locals.collect();
        let mut known = hcl::Map::new();
        // Local values refer to each other in any order.
        loop {
            context.declare_var("local", known.clone());
            let before = open.len();
            open.retain(|local| match local.expr().evaluate(&context) {
                Ok(value) => known.insert(local.key().to_owned(), value).is_some(),
                Err(_) => true,
            });
            if open.len() == before {
                return context;
            }
        }
    }
}

/// Settings by dotted path; what is uncertain is left out.
fn flatten(body: &Body, prefix: &str, context: &Context<'_>, settings: &mut BTreeMap<String, Setting>) {
    for attribute in body.attributes() {
        let value =
            attribute.expr().evaluate(context).ok().and_then(|value| serde_json::to_value(value).ok());
        if let Some(value) = value {
            flatten_value(value, &format!("{prefix}{}", attribute.key()), settings);
        }
    }
    for block in body.blocks() {
        flatten(block.body(), &format!("{prefix}{}.", block.identifier()), context, settings);
    }
}

/// In the syntax of JSON a block is an object, or a list of them.
fn flatten_value(value: Value, path: &str, settings: &mut BTreeMap<String, Setting>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                flatten_value(value, &format!("{path}.{key}"), settings);
            }
        }
        Value::Array(items) if items.iter().all(Value::is_object) && !items.is_empty() => {
            items.into_iter().for_each(|item| flatten_value(item, path, settings));
        }
        value => {
            settings.insert(path.to_owned(), Setting::Known(value));
        }
    }
}

/// Whether Terraform reads values of variables from this file without being told.
fn is_variables(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let name = name.strip_suffix(".json").unwrap_or(name);
    name == "terraform.tfvars" || name.ends_with(".auto.tfvars")
}

fn keys(path: &Path, text: &str) -> Vec<String> {
    if path.extension().is_some_and(|extension| extension == "json") {
        let values: Map<String, Value> = serde_json::from_str(text).unwrap_or_default();
        return values.into_iter().map(|(key, _)| key).collect();
    }
    let body: Body = hcl::parse(text).unwrap_or_default();
    body.attributes().map(|attribute| attribute.key().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn root(files: &[(&str, &str)]) -> Declared {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(dir.path().join(name), text).unwrap();
        }
        Declared::read(dir.path(), [])
    }

    fn settings(declared: &Declared, given: &Value) -> BTreeMap<String, BTreeMap<String, Value>> {
        let providers = declared.providers("album-aki", given.as_object().unwrap());
        let known = |setting| match setting {
            Setting::Known(value) => value,
            Setting::Refers(of) => panic!("{of:?}"),
        };
        let of = |provider: ProviderConfig| {
            (provider.key, provider.settings.into_iter().map(|(key, s)| (key, known(s))).collect())
        };
        providers.into_iter().map(of).collect()
    }

    #[test]
    fn a_backend_may_be_said_in_part() {
        let main =
            "terraform {\n  backend \"s3\" {\n    key = \"album.tfstate\"\n    encrypt = true\n  }\n}\n";
        let expected = BTreeMap::from([("key".to_owned(), "album.tfstate".to_owned())]);
        assert_eq!(root(&[("main.tf", main)]).backend(), expected);
        assert!(root(&[("main.tf", "terraform {}\n")]).backend().is_empty());
    }

    #[test]
    fn a_root_says_where_its_state_is_or_configures_a_provider() {
        let is_root = |text: &str| root(&[("main.tf", text)]).is_root();
        assert!(is_root("terraform {\n  backend \"s3\" {}\n}\n") && is_root("terraform {\n  cloud {}\n}\n"));
        assert!(is_root("provider \"aws\" {}\n"));
        assert!(!is_root("terraform {\n  required_version = \"1\"\n}\nresource \"a\" \"b\" {}\n"));
    }

    #[test]
    fn what_a_root_needs_is_named() {
        let main = "module \"a\" {\n  source = \"../a\"\n}\nmodule \"b\" {\n  source = \"hashicorp/b\"\n}\n\
                    variable \"set\" {}\nvariable \"unset\" {}\nvariable \"null\" {\n  default = null\n}\n";
        let declared = root(&[("main.tf", main), ("terraform.tfvars", "set = 1\n")]);
        assert_eq!(declared.modules(), ["../a"]);
        assert_eq!(declared.unset_variables(), ["unset"]);
    }

    const MAIN: &str = r#"
        terraform {
          required_providers { cloud = { source = "hashicorp/aws" } }
        }
        variable "stage" { default = "dev" }
        variable "role" { default = "arn:default" }
        locals {
          arn   = "arn:aws:iam::${local.ids[var.stage]}:role/x"
          ids   = { dev = "1", prod = "2" }
          later = aws_sqs_queue.jobs.id
        }
        provider "cloud" {
          alias  = "elsewhere"
          region = terraform.workspace == "default" ? "a" : "b"
          assume_role { role_arn = local.arn }
          token = local.later
        }
        provider "aws" {
          assume_role { role_arn = var.role }
        }
        output "b" { value = 1 }
        output "a" { value = 1 }
    "#;

    #[test]
    fn providers_are_known_as_far_as_they_are_certain() {
        let declared = root(&[("main.tf", MAIN)]);
        let found = settings(&declared, &json!({"stage": "prod"}));
        assert_eq!(found["cloud.elsewhere"]["assume_role.role_arn"], "arn:aws:iam::2:role/x");
        assert_eq!(found["cloud.elsewhere"]["region"], "b");
        assert!(!found["cloud.elsewhere"].contains_key("token"), "only a plan knows");
        assert_eq!(found["aws"]["assume_role.role_arn"], "arn:default");
        let expression = |provider| declared.expression(provider, "assume_role.role_arn");
        assert_eq!(expression("cloud.elsewhere").as_deref(), Some("local.arn"));
        assert_eq!(expression("aws").as_deref(), Some("var.role"));
        assert_eq!((expression("cloud"), declared.expression("aws", "profile")), (None, None));
        let sources: Vec<_> = declared.providers("x", &Map::new()).into_iter().map(|p| p.source).collect();
        assert_eq!(sources, ["registry.terraform.io/hashicorp/aws"; 2]);
        assert_eq!(declared.outputs(), ["a", "b"]);
    }

    #[test]
    fn a_variable_that_a_file_sets_is_not_its_default() {
        for file in
            [("x.auto.tfvars", "role = \"arn:file\""), ("terraform.tfvars.json", r#"{"role": "arn:file"}"#)]
        {
            let declared = root(&[("main.tf", MAIN), file]);
            assert!(!settings(&declared, &json!({}))["aws"].contains_key("assume_role.role_arn"), "{file:?}");
            let given = settings(&declared, &json!({"role": "arn:given"}));
            assert_eq!(given["aws"]["assume_role.role_arn"], "arn:given");
        }
    }

    #[test]
    fn the_json_syntax_means_the_same() {
        let declared = root(&[(
            "main.tf.json",
            r#"{"variable": {"role": {"default": "arn:default"}}, "output": {"url": {"value": 1}},
                "provider": {"aws": [{"alias": "x", "assume_role": [{"role_arn": "${var.role}"}]}, {"region": "r"}]}}"#,
        )]);
        let found = settings(&declared, &json!({}));
        assert_eq!(found["aws.x"]["assume_role.role_arn"], "arn:default");
        assert_eq!(found["aws"]["region"], "r");
        assert_eq!(declared.outputs(), ["url"]);
    }
}
