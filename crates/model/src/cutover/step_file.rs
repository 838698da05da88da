//! One item of `steps`: `stopOld`, or `setWeight: 5` with `bake` and `gate` beside it.

use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::json;
use serde_yaml::Spanned;

use super::catalogue;
use super::file::Text;

/// A step as it is written. Several of its parts may be wrong; reading it tells which.
#[derive(Debug, Default)]
pub(super) struct StepFile {
    /// The step's word; none if the item is a bare word, which stands in `bare`, or has none.
    pub(super) word: Option<Text>,
    /// The item, if it is nothing but a word.
    pub(super) bare: Option<String>,
    /// What stands behind the step's word.
    pub(super) argument: Argument,
    /// `bake`.
    pub(super) bake: Option<BakeText>,
    /// `gate`.
    pub(super) gate: Option<Spanned<Vec<Text>>>,
    /// Keys that are neither.
    pub(super) others: Vec<Text>,
}

/// What stands behind a step's word.
#[derive(Debug, Default)]
pub(super) enum Argument {
    /// Nothing.
    #[default]
    Nothing,
    /// A number.
    Number(Text),
    /// `sameAnswer`.
    Sample(SampleText),
    /// `switchName`.
    Name(NameText),
    /// `drain`.
    Drain(DrainText),
    /// `stopOld`.
    Stop(StopText),
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ScaleUpText {
    /// What has to hold; this is the only thing, and the default.
    #[serde(rename = "verify")]
    pub(super) _verify: Option<Verify>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) enum Verify {
    /// Every replica is ready.
    EveryReplicaReady,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct SampleText {
    /// How many requests both sides are sent; 200 if left out.
    #[schemars(with = "Option<u32>")]
    pub(super) sample: Option<Text>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct NameText {
    /// How long resolvers may keep the name's address; `5s` if left out.
    #[schemars(with = "Option<String>")]
    pub(super) ttl: Option<Text>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct DrainText {
    /// Which side; `old` is the only one, and the default.
    #[schemars(with = "Option<String>", extend("enum" = ["old"]))]
    pub(super) side: Option<Text>,
    /// How long it may take; `20s` if left out.
    #[schemars(with = "Option<String>")]
    pub(super) timeout: Option<Text>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct StopText {
    /// What must be so before.
    #[serde(default)]
    pub(super) require: Vec<RequireText>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RequireText {
    /// How long the old side must have had nothing to do; `10s` if left out.
    #[schemars(with = "String")]
    pub(super) old_idle_for: Text,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "Bake")]
pub(super) struct BakeText {
    /// At least so long, such as `10s`.
    #[schemars(with = "Option<String>")]
    pub(super) at_least: Option<Text>,
    /// Until each side that gets any has answered so many requests, or ended so many jobs.
    #[schemars(with = "Option<u32>")]
    pub(super) min_samples_per_side: Option<Text>,
    /// Of a schedule: until so many ticks are over, with their tolerance, and the runs that began meanwhile.
    #[schemars(with = "Option<u32>")]
    pub(super) min_ticks: Option<Text>,
}

impl<'de> Deserialize<'de> for StepFile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Item)
    }
}

struct Item;

impl<'de> Visitor<'de> for Item {
    type Value = StepFile;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a step: `stopOld`, or `setWeight: 5`")
    }

    fn visit_str<E>(self, word: &str) -> Result<StepFile, E> {
        Ok(StepFile { bare: Some(word.to_owned()), ..StepFile::default() })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<StepFile, A::Error> {
        let mut step = StepFile::default();
        while let Some(key) = map.next_key::<Text>()? {
            match key.value.as_str() {
                "bake" => step.bake = map.next_value()?,
                "gate" => step.gate = map.next_value()?,
                word if step.word.is_none() && catalogue::step(word).is_some() => {
                    step.argument = argument(word, &mut map)?;
                    step.word = Some(key);
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                    step.others.push(key);
                }
            }
        }
        if step.word.is_none() && step.others.is_empty() {
            return Err(A::Error::custom("an item of `steps` without a step"));
        }
        Ok(step)
    }
}

fn argument<'de, A: MapAccess<'de>>(word: &str, map: &mut A) -> Result<Argument, A::Error> {
    let given = match word {
        "setWeight" | "handover" => map.next_value::<Option<_>>()?.map(Argument::Number),
        "scaleUpNew" => map.next_value::<Option<ScaleUpText>>()?.map(|_| Argument::Nothing),
        "sameAnswer" => map.next_value::<Option<_>>()?.map(Argument::Sample),
        "switchName" => map.next_value::<Option<_>>()?.map(Argument::Name),
        "drain" => map.next_value::<Option<_>>()?.map(Argument::Drain),
        "stopOld" => map.next_value::<Option<_>>()?.map(Argument::Stop),
        _ => map.next_value::<Option<NoArgument>>()?.map(|NoArgument {}| Argument::Nothing),
    };
    Ok(given.unwrap_or_default())
}

/// Behind a step that takes nothing.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NoArgument {}

/// A schema that takes one of these words.
pub(super) fn words_schema<'a>(words: impl Iterator<Item = &'a str>) -> Schema {
    json_schema!({"type": "string", "enum": words.collect::<Vec<_>>()})
}

/// The schema of `steps`, out of the catalogue.
pub(super) fn steps_schema(generator: &mut SchemaGenerator) -> Schema {
    let bare: Vec<_> =
        catalogue::STEPS.iter().map(|entry| entry.word).filter(|word| !takes_number(word)).collect();
    let mut forms = vec![json!({"type": "string", "enum": bare})];
    let gates = words_schema(catalogue::GATES.iter().map(|entry| entry.word));
    for entry in catalogue::STEPS {
        let mut argument = match entry.word {
            "setWeight" => json!({"type": "integer", "minimum": 1, "maximum": 100}),
            "handover" => json!({"type": "integer", "minimum": 0}),
            "scaleUpNew" => generator.subschema_for::<Option<ScaleUpText>>().to_value(),
            "sameAnswer" => generator.subschema_for::<Option<SampleText>>().to_value(),
            "switchName" => generator.subschema_for::<Option<NameText>>().to_value(),
            "drain" => generator.subschema_for::<Option<DrainText>>().to_value(),
            "stopOld" => generator.subschema_for::<Option<StopText>>().to_value(),
            _ => json!({"type": ["object", "null"], "additionalProperties": false}),
        };
        if let Some(argument) = argument.as_object_mut() {
            argument.insert("description".to_owned(), entry.does.into());
        }
        forms.push(json!({
            "type": "object",
            "properties": {
                entry.word: argument,
                "bake": generator.subschema_for::<BakeText>(),
                "gate": {"type": "array", "items": gates},
            },
            "required": [entry.word],
            "additionalProperties": false,
        }));
    }
    json_schema!({"type": "array", "minItems": 1, "items": {"oneOf": forms}})
}

fn takes_number(word: &str) -> bool {
    matches!(word, "setWeight" | "handover")
}
