//! The steps of a plan.

use std::time::Duration;

use serde_yaml::Spanned;

use super::catalogue::{self, STEPS};
use super::check::{Reader, Wrong};
use super::file::{PlanText, Text};
use super::load::Given;
use super::plan::{Action, Bake, CutoverPlan, Step};
use super::step_file::{Argument, StepFile, StopText};
use super::{bake, judges, order};
use crate::spelling::closest;
use crate::stack::ComponentKind;
use crate::units;

pub(super) fn read(
    reader: &Reader<'_>,
    plan: &CutoverPlan,
    given: Given,
    text: &PlanText,
) -> Result<Vec<Step>, Wrong> {
    if text.steps.is_empty() {
        let message = "a plan without steps changes nothing";
        return Err(reader.at_key("steps", message, "begin with `- scaleUpNew`"));
    }
    let mut plan = plan.clone();
    for item in &text.steps {
        let (at, action) = action(reader, plan.kind, item)?;
        order::follows(reader, &plan, &at, &action)?;
        let line = usize::try_from(item.referenced.line()).unwrap_or(usize::MAX);
        plan.steps.push(Step { action, bake: Bake::default(), gates: Vec::new(), line });
        let gates = judges::read(reader, &plan, given, &at, item)?;
        if let Some(step) = plan.steps.last_mut() {
            step.gates = gates;
        }
        let bake = bake::read(reader, &plan, given, &at, item)?;
        if let Some(step) = plan.steps.last_mut() {
            step.bake = bake;
        }
    }
    order::complete(reader, &plan)?;
    for (index, item) in text.steps.iter().enumerate() {
        judges::drilled(reader, &plan, index, item)?;
    }
    Ok(plan.steps)
}

/// What an item does, and its word with its place.
fn action(
    reader: &Reader<'_>,
    kind: ComponentKind,
    item: &Spanned<StepFile>,
) -> Result<(Text, Action), Wrong> {
    let step = &item.value;
    let word = match (&step.word, &step.bare, step.others.first()) {
        (Some(word), _, None) => word.clone(),
        (None, Some(bare), _) => Spanned::new(bare.clone(), item.referenced, item.defined),
        (Some(word), _, Some(other)) if catalogue::step(&other.value).is_some() => {
            let message = format!("`{}` and `{}` are two steps", word.value, other.value);
            return Err(reader.at(other, message, "begin an item of its own with `- `"));
        }
        (Some(_), _, Some(other)) => {
            let help = closest(&other.value, ["bake", "gate"])
                .map_or("keys beside a step: bake, gate".to_owned(), |key| format!("did you mean `{key}`?"));
            return Err(reader.at(other, format!("unknown key `{}`", other.value), &help));
        }
        (None, None, other) => {
            let word = other.map_or("", |other| &other.value);
            let at = other.map_or(item.referenced, |other| other.referenced);
            Spanned::new(word.to_owned(), at, at)
        }
    };
    reader.entry(&word, &word.value, kind, STEPS)?;
    let duration = |text: &Option<Text>, usual: u64| match text {
        None => Ok(Duration::from_secs(usual)),
        Some(text) => reader.quantity(text, units::duration),
    };
    let number = |what: &str, example: &str, low, high| match &step.argument {
        Argument::Number(number) => reader.whole::<u16>(number, what, low..=high),
        _ => Err(reader.at(&word, format!("`{}` needs a number", word.value), &format!("write `{example}`"))),
    };
    let action = match (word.value.as_str(), &step.argument) {
        ("scaleUpNew", _) => Action::ScaleUpNew,
        ("sameAnswer", argument) => {
            let sample = match argument {
                Argument::Sample(text) => text.sample.as_ref(),
                _ => None,
            };
            let sample = sample.map(|sample| reader.whole(sample, "`sample`", 1..=1_000_000)).transpose()?;
            Action::SameAnswer { sample: sample.unwrap_or(200) }
        }
        ("setWeight", _) => {
            let percent = number("a weight in percent", "setWeight: 5", 1, 100)?;
            Action::SetWeight { percent: u8::try_from(percent).unwrap_or(100) }
        }
        ("switchName", Argument::Name(text)) => Action::SwitchName { ttl: duration(&text.ttl, 5)? },
        ("switchName", _) => Action::SwitchName { ttl: Duration::from_secs(5) },
        ("handover", _) => Action::Handover { old: number("what stays", "handover: 1", 0, 100)? },
        ("disarmOld", _) => Action::DisarmOld,
        ("armNew", _) => Action::ArmNew,
        ("drain", Argument::Drain(text)) => {
            if let Some(side) = text.side.as_ref().filter(|side| side.value != "old") {
                let message = format!("side `{}` is not drained by a step", side.value);
                return Err(reader.at(
                    side,
                    message,
                    "`old` is the side that is left; going back is the undo",
                ));
            }
            Action::Drain { timeout: duration(&text.timeout, 20)? }
        }
        ("drain", _) => Action::Drain { timeout: Duration::from_secs(20) },
        (_, Argument::Stop(StopText { require })) => {
            if let [_, second, ..] = require.as_slice() {
                let message = "`oldIdleFor` is required twice";
                return Err(reader.at(&second.old_idle_for, message, "keep one of them"));
            }
            let required = require.first().map(|require| require.old_idle_for.clone());
            Action::StopOld { idle_for: duration(&required, 10)? }
        }
        _ => Action::StopOld { idle_for: Duration::from_secs(10) },
    };
    Ok((word, action))
}
