//! The part of a stack that `up --only` starts.
//!
//! The rule: of the workloads that are components of the stack file, only those that were named run, and those for whose
//! Services an init container of theirs waits. A component that is left out is switched off by its `enabledBy`, where it
//! has one; in any case its workloads are taken out of what is delivered. All else stays: hooks, Services, ConfigMaps,
//! Secrets, backing services, and workloads that are no component.

use std::collections::BTreeSet;

use envctl_model::stack::{Stack, set_path};
use envctl_translate::Object;
use serde_json::{Map, Value};

use super::component;
use crate::ui::Failure;

/// Which components run, and which do not. By default it is the whole.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Part {
    named: BTreeSet<String>,
    left_out: BTreeSet<String>,
}

impl Part {
    /// The components that were named, of which it is not known yet what they need: nothing is left out.
    ///
    /// # Errors
    /// When the stack has no such component.
    pub(crate) fn named(stack: &Stack, only: &[String]) -> Result<Self, Failure> {
        if let Some(unknown) = only.iter().find(|name| !stack.components.contains_key(*name)) {
            let known: Vec<_> = stack.components.keys().map(String::as_str).collect();
            let known = if known.is_empty() {
                "the stack file has no `components`".to_owned()
            } else {
                format!("its components: {}", known.join(", "))
            };
            return Err(Failure::Usage(format!(
                "--only {unknown}: the stack has no component `{unknown}`; {known}"
            )));
        }
        Ok(Self { named: only.iter().cloned().collect(), left_out: BTreeSet::new() })
    }

    /// Leaves out all that those which were named do not need. `whole` is what is rendered with all components.
    ///
    /// # Errors
    /// When one that was named is not among what is rendered.
    pub(crate) fn without_the_rest(mut self, stack: &Stack, whole: &[Object]) -> Result<Self, Failure> {
        if self.named.is_empty() {
            return Ok(self);
        }
        let rendered: BTreeSet<&str> = workloads(stack, whole).map(|(name, _)| name).collect();
        let missing = self
            .named
            .iter()
            .find(|name| !rendered.contains(name.as_str()) && stack.components[*name].enabled_by.is_none());
        if let Some(missing) = missing {
            return Err(Failure::Usage(format!(
                "--only {missing}: nothing that is rendered is of component `{missing}`\n  \
                 a component is named like its workload, or like its label app.kubernetes.io/component"
            )));
        }
        let needed = needed(stack, whole, self.named.clone());
        self.left_out = stack.components.keys().filter(|name| !needed.contains(*name)).cloned().collect();
        Ok(self)
    }

    /// Sets the values that switch components on and off.
    ///
    /// # Errors
    /// When an input sets something above such a value.
    pub(crate) fn switch(&self, stack: &Stack, values: &mut Map<String, Value>) -> Result<(), Failure> {
        let switches = |names: &BTreeSet<String>| -> BTreeSet<String> {
            names.iter().filter_map(|name| stack.components[name].enabled_by.clone()).collect()
        };
        let on = switches(&self.named);
        let off = switches(&self.left_out);
        // Two components may have one switch: then only their workloads tell them apart.
        let shared = self.kept_switches(stack);
        let off =
            off.into_iter().filter(|switch| !shared.contains(switch.as_str())).map(|path| (path, false));
        for (path, value) in on.into_iter().map(|path| (path, true)).chain(off) {
            set_path(values, &path, value.into()).map_err(|e| Failure::Usage(format!("enabledBy: {e}")))?;
        }
        Ok(())
    }

    /// Takes the workloads of components that are left out from the objects.
    pub(crate) fn leave_out(&self, stack: &Stack, objects: &mut Vec<Object>) {
        let is_left_out = |object: &Object| {
            component::is_workload(object)
                && !component::is_hook(object)
                && component::of(&stack.components, object).is_some_and(|name| self.left_out.contains(name))
        };
        objects.retain(|object| !is_left_out(object));
    }

    /// In a cluster Helm delivers what the chart renders, so that a value has to switch off what is left out.
    ///
    /// # Errors
    /// When a component that is left out has no such value of its own.
    pub(crate) fn needs_switches(&self, stack: &Stack) -> Result<(), Failure> {
        let shared = self.kept_switches(stack);
        let without = self.left_out.iter().find(|name| {
            let switch = stack.components[*name].enabled_by.as_deref();
            stack.chart.is_none() || switch.is_none_or(|switch| shared.contains(switch))
        });
        match without {
            None => Ok(()),
            Some(name) => Err(Failure::Usage(format!(
                "--only leaves `{name}` out, and in a cluster only a value of the chart can do that\n  \
                 say which in the stack file: `components: {{{name}: {{enabledBy: {name}.enabled}}}}`; or name it, too"
            ))),
        }
    }

    /// That nothing of what is left out is among what is rendered: a switch may be misspelt, or set to something else.
    ///
    /// # Errors
    /// When something is.
    pub(crate) fn is_gone_from(&self, stack: &Stack, objects: &[Object]) -> Result<(), Failure> {
        let Some((name, object)) = workloads(stack, objects).find(|(name, _)| self.left_out.contains(*name))
        else {
            return Ok(());
        };
        let switch = stack.components[name].enabled_by.as_deref().unwrap_or_default();
        Err(Failure::Usage(format!(
            "--only leaves `{name}` out, and its `enabledBy: {switch}` leaves {} where it is\n  \
             see that the chart has this value, and that no `--set` gives it another one",
            object.id()
        )))
    }

    /// The components that are left out.
    pub(crate) fn left_out(&self) -> Vec<String> {
        self.left_out.iter().cloned().collect()
    }

    fn kept_switches<'s>(&self, stack: &'s Stack) -> BTreeSet<&'s str> {
        let kept = stack.components.iter().filter(|(name, _)| !self.left_out.contains(*name));
        kept.filter_map(|(_, component)| component.enabled_by.as_deref()).collect()
    }
}

/// The workloads that are of a component, with that.
fn workloads<'a>(stack: &'a Stack, objects: &'a [Object]) -> impl Iterator<Item = (&'a str, &'a Object)> {
    let workloads =
        objects.iter().filter(|object| component::is_workload(object) && !component::is_hook(object));
    workloads.filter_map(|object| Some((component::of(&stack.components, object)?, object)))
}

/// These components with those that have to be there for them to start.
fn needed(stack: &Stack, objects: &[Object], mut names: BTreeSet<String>) -> BTreeSet<String> {
    let services = || objects.iter().filter(|object| object.kind == "Service");
    loop {
        let waited_for: BTreeSet<&str> = workloads(stack, objects)
            .filter(|(name, _)| names.contains(*name))
            .flat_map(|(_, workload)| hosts(&component::pod(workload)["spec"]["initContainers"]))
            .collect();
        let behind =
            services().filter(|service| waited_for.contains(service.name.as_str())).flat_map(|service| {
                workloads(stack, objects)
                    .filter(move |(_, workload)| {
                        component::selects(&service.body["spec"]["selector"], workload)
                    })
                    .map(|(name, _)| name.to_owned())
            });
        let before = names.len();
        names.extend(behind);
        if names.len() == before {
            return names;
        }
    }
}

/// All words in what init containers say that may be the name of a host.
fn hosts(init_containers: &Value) -> Vec<&str> {
    let texts = init_containers.as_array().into_iter().flatten().flat_map(|container| {
        let words = ["command", "args"].map(|key| container[key].as_array()).into_iter().flatten().flatten();
        let variables = container["env"].as_array().into_iter().flatten().map(|variable| &variable["value"]);
        words.chain(variables).filter_map(Value::as_str)
    });
    texts.flat_map(|text| text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'))).collect()
}

#[cfg(test)]
mod tests {
    use envctl_model::stack::StackFile;
    use serde_json::json;

    use super::*;
    use crate::flows::chart::parse;

    const STACK: &str = "
apiVersion: envctl/v1
kind: Stack
project: shop
chart: {path: chart}
components:
  api: {kind: service, enabledBy: api.enabled}
  db: {kind: service}
  mailer: {kind: worker, enabledBy: jobs.enabled}
  digest: {kind: schedule, enabledBy: jobs.enabled}
targets: {local: {kind: compose}}
";

    const OBJECTS: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: shop-api}
spec:
  template:
    metadata: {labels: {app: api}}
    spec:
      initContainers: [{name: wait, command: [sh, -c, 'until nc -z shop-db 5432; do sleep 1; done']}]
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: shop-db}
spec: {template: {metadata: {labels: {app: db}}}}
---
apiVersion: v1
kind: Service
metadata: {name: shop-db}
spec: {selector: {app: db}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: shop-mailer}
spec: {template: {}}
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: digest}
spec: {jobTemplate: {spec: {template: {}}}}
---
apiVersion: batch/v1
kind: Job
metadata: {name: shop-api, annotations: {helm.sh/hook: pre-install}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: shop-cache}
spec: {template: {}}
";

    fn stack() -> Stack {
        StackFile::parse("envctl.yaml", STACK).unwrap().stack
    }

    fn part(only: &[&str]) -> Result<Part, Failure> {
        let only: Vec<_> = only.iter().map(|name| (*name).to_owned()).collect();
        Part::named(&stack(), &only)?.without_the_rest(&stack(), &parse(OBJECTS, "test").unwrap())
    }

    fn delivered(part: &Part) -> Vec<String> {
        let mut objects = parse(OBJECTS, "test").unwrap();
        part.leave_out(&stack(), &mut objects);
        objects.iter().map(Object::id).collect()
    }

    #[test]
    fn what_an_init_container_waits_for_starts_too_and_hooks_services_and_strangers_stay() {
        let part = part(&["api"]).unwrap();
        assert_eq!(part.left_out(), ["digest", "mailer"]);
        assert_eq!(
            delivered(&part),
            [
                "Deployment/shop-api",
                "StatefulSet/shop-db",
                "Service/shop-db",
                "Job/shop-api",
                "Deployment/shop-cache"
            ]
        );
    }

    #[test]
    fn the_others_are_switched_off_unless_one_that_runs_has_the_same_switch() {
        let values = |only: &[&str]| {
            let mut values = Map::new();
            part(only).unwrap().switch(&stack(), &mut values).unwrap();
            Value::Object(values)
        };
        assert_eq!(values(&["api"]), json!({"api": {"enabled": true}, "jobs": {"enabled": false}}));
        assert_eq!(values(&["mailer"]), json!({"jobs": {"enabled": true}, "api": {"enabled": false}}));
        assert!(!delivered(&part(&["mailer"]).unwrap()).contains(&"CronJob/digest".to_owned()));
        assert_eq!(values(&[]), json!({}), "without --only nothing is switched");
        assert_eq!(delivered(&Part::default()).len(), 7);
    }

    #[test]
    fn in_a_cluster_what_is_left_out_needs_a_switch_of_its_own() {
        let error =
            |only: &[&str]| part(only).unwrap().needs_switches(&stack()).unwrap_err().message().unwrap();
        assert!(error(&["mailer"]).contains("enabledBy: db.enabled"), "{}", error(&["mailer"]));
        assert!(error(&["db", "mailer"]).contains("--only leaves `digest` out"));
        assert!(part(&["api"]).unwrap().needs_switches(&stack()).is_ok());
        // And the switch has to do it.
        let part = part(&["api"]).unwrap();
        let mut objects = parse(OBJECTS, "test").unwrap();
        let error = part.is_gone_from(&stack(), &objects).unwrap_err().message().unwrap();
        assert!(
            error.contains("`enabledBy: jobs.enabled` leaves Deployment/shop-mailer where it is"),
            "{error}"
        );
        part.leave_out(&stack(), &mut objects);
        assert!(part.is_gone_from(&stack(), &objects).is_ok());
    }

    #[test]
    fn an_unknown_component_is_told_with_those_there_are() {
        let error = part(&["api", "shop"]).unwrap_err().message().unwrap();
        assert_eq!(
            error,
            "--only shop: the stack has no component `shop`; its components: api, db, digest, mailer"
        );
        let none = Part::named(&stack(), &["db".to_owned()]).unwrap().without_the_rest(&stack(), &[]);
        assert!(
            none.unwrap_err().message().unwrap().contains("nothing that is rendered is of component `db`")
        );
    }
}
