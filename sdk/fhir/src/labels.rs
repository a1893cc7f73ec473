//! Which sensitivity labels a resource calls for, by the codes in it.
//!
//! Two things call for a label: a security label in some `meta.security`, which whoever wrote the
//! resource has set, and a diagnosis in some `coding` of ICD-10 or ICD-10-CM. The diagnoses are
//! taken by chapter and block of the classification (WHO, ICD-10, 2019; ICD-10-CM, 2026):
//!
//! | ICD-10 | What | Label |
//! |---|---|---|
//! | A50–A64 | infections with a predominantly sexual mode of transmission | `STD` |
//! | B20–B24, Z21 | HIV | `HIV` |
//! | D57 | sickle-cell disorders | `SCA` |
//! | F10 | disorders due to use of alcohol | `ETH`, `SUD` |
//! | F11 | due to use of opioids | `OPIOIDUD`, `SUD` |
//! | F12–F16, F18, F19 | due to use of other substances, tobacco excepted | `SUD` |
//! | F20–F99 | other mental and behavioural disorders | `PSY` |
//! | O00–O99, Z33, Z34 | pregnancy, childbirth and the puerperium | `PREGNANT` |
//! | T74, T76, Y05–Y07 | maltreatment, sexual assault, abuse | `SDV` |
//! | X92–Y04, Y08, Y09 | assault | `VIO` |
//!
//! What is found is a help for whoever reviews a record, and no more: a text says what codes do not,
//! a diagnosis may be one that was ruled out, and other code systems are not looked at.

use std::collections::BTreeSet;

use serde_json::Value;
use stela_consent::{Confidentiality, SensitivityLabel as Label};

use crate::limits::JSON_DEPTH_MAX;

const ACT_CODE: &str = "http://terminology.hl7.org/CodeSystem/v3-ActCode";
const CONFIDENTIALITY: &str = "http://terminology.hl7.org/CodeSystem/v3-Confidentiality";
const ICD_10: [&str; 2] = [
    "http://hl7.org/fhir/sid/icd-10",
    "http://hl7.org/fhir/sid/icd-10-cm",
];

/// Codes from one up to another one, by their first three characters, and the labels.
type Block = (&'static str, &'static str, &'static [Label]);

const BLOCKS: &[Block] = &[
    ("A50", "A64", &[Label::Std]),
    ("B20", "B24", &[Label::Hiv]),
    ("D57", "D57", &[Label::SickleCell]),
    ("F10", "F10", &[Label::SubstanceAbuse, Label::SubstanceUse]),
    ("F11", "F11", &[Label::OpioidUse, Label::SubstanceUse]),
    ("F12", "F16", &[Label::SubstanceUse]),
    ("F18", "F19", &[Label::SubstanceUse]),
    ("F20", "F99", &[Label::Psychiatry]),
    ("O00", "O99", &[Label::Pregnancy]),
    ("T74", "T74", &[Label::DomesticViolence]),
    ("T76", "T76", &[Label::DomesticViolence]),
    ("X92", "X99", &[Label::Violence]),
    ("Y00", "Y04", &[Label::Violence]),
    ("Y05", "Y07", &[Label::DomesticViolence]),
    ("Y08", "Y09", &[Label::Violence]),
    ("Z21", "Z21", &[Label::Hiv]),
    ("Z33", "Z34", &[Label::Pregnancy]),
];

/// What the content of a resource calls for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CalledFor {
    /// The labels.
    pub labels: BTreeSet<Label>,
    /// The highest confidentiality that a security label in it states.
    pub confidentiality: Option<Confidentiality>,
}

impl CalledFor {
    /// The labels that are not among those that a record carries.
    pub fn missing(&self, carried: &[Label]) -> Vec<Label> {
        let labels = self.labels.iter().copied();
        labels.filter(|label| !carried.contains(label)).collect()
    }
}

/// What a resource calls for, contained ones and those of a bundle included.
pub fn called_for(resource: &Value) -> CalledFor {
    let mut found = CalledFor::default();
    walk(resource, 0, &mut found);
    found
}

fn walk(value: &Value, depth: usize, found: &mut CalledFor) {
    if depth > JSON_DEPTH_MAX {
        return;
    }
    match value {
        Value::Object(fields) => {
            if let (Some(Value::String(system)), Some(Value::String(code))) =
                (fields.get("system"), fields.get("code"))
            {
                coding(system, code, found);
            }
            for field in fields.values() {
                walk(field, depth + 1, found);
            }
        }
        Value::Array(entries) => {
            for entry in entries {
                walk(entry, depth + 1, found);
            }
        }
        _ => {}
    }
}

fn coding(system: &str, code: &str, found: &mut CalledFor) {
    match system {
        ACT_CODE => found.labels.extend(code.parse::<Label>()),
        CONFIDENTIALITY => {
            let stated = code.parse().ok();
            found.confidentiality = found.confidentiality.max(stated);
        }
        system if ICD_10.contains(&system) => diagnosis(code, found),
        _ => {}
    }
}

fn diagnosis(code: &str, found: &mut CalledFor) {
    let Some(block) = code.get(..3) else { return };
    for (first, last, labels) in BLOCKS {
        if (*first..=*last).contains(&block) {
            found.labels.extend(labels.iter().copied());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn labels(resource: Value) -> Vec<&'static str> {
        let found = called_for(&resource).labels.into_iter();
        found.map(Label::code).collect()
    }

    fn condition(code: &str) -> Value {
        let coding = json!([{"system": "http://hl7.org/fhir/sid/icd-10-cm", "code": code}]);
        json!({"resourceType": "Condition", "code": {"coding": coding}})
    }

    #[test]
    fn diagnoses_call_for_labels() {
        for (code, expected) in [
            ("B20", &["HIV"][..]),
            ("Z21", &["HIV"]),
            ("F10.20", &["ETH", "SUD"]),
            ("F11.2", &["SUD", "OPIOIDUD"]),
            ("F17.210", &[]),
            ("F32.2", &["PSY"]),
            ("F99", &["PSY"]),
            ("A49", &[]),
            ("A64", &["STD"]),
            ("A65", &[]),
            ("O80", &["PREGNANT"]),
            ("D57.1", &["SCA"]),
            ("T74.1", &["SDV"]),
            ("Y09", &["VIO"]),
            ("I10", &[]),
            ("", &[]),
            ("é", &[]),
        ] {
            assert_eq!(labels(condition(code)), expected, "{code}");
        }
    }

    #[test]
    fn what_is_within_a_bundle_counts_and_what_the_author_labelled_too() {
        let security = json!([
            {"system": ACT_CODE, "code": "PSY"},
            {"system": ACT_CODE, "code": "HTEST"},
            {"system": CONFIDENTIALITY, "code": "R"},
        ]);
        let note = json!({"resourceType": "Composition", "meta": {"security": security}});
        let normal = json!({"meta": {"security": [{"system": CONFIDENTIALITY, "code": "N"}]}});
        let bundle = json!({
            "resourceType": "Bundle",
            "entry": [{"resource": note}, {"resource": normal}, {"resource": condition("Z34")}],
        });
        let found = called_for(&bundle);
        assert_eq!(found.confidentiality, Some(Confidentiality::Restricted));
        assert_eq!(
            found.missing(&[Label::Pregnancy]),
            [Label::Psychiatry],
            "{found:?}"
        );
        assert_eq!(called_for(&json!("F32.2")), CalledFor::default());
    }
}
