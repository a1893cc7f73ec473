//! The codes that consents and records use. An unknown code is refused, never ignored: a criterion
//! that is not understood must not widen or narrow a consent unseen.

use core::fmt;

/// A word that is not in its code system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownCode {
    /// The code system's name here.
    pub system: &'static str,
}

impl fmt::Display for UnknownCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown {} code", self.system)
    }
}

impl core::error::Error for UnknownCode {}

/// An enumeration whose variants are written as codes, in JSON too.
macro_rules! codes {
    (
        $(#[$doc:meta])* $name:ident, $system:literal,
        { $($(#[$variant_doc:meta])* $variant:ident = $code:literal),+ $(,)? }
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)+
        }

        impl $name {
            /// Every code.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The code as it is written.
            pub const fn code(self) -> &'static str {
                match self {
                    $(Self::$variant => $code,)+
                }
            }
        }

        impl core::str::FromStr for $name {
            type Err = $crate::UnknownCode;

            fn from_str(text: &str) -> Result<Self, $crate::UnknownCode> {
                match text {
                    $($code => Ok(Self::$variant),)+
                    _ => Err($crate::UnknownCode { system: $system }),
                }
            }
        }

        impl core::fmt::Display for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                f.pad(self.code())
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.code())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Code;

                impl serde::de::Visitor<'_> for Code {
                    type Value = $name;

                    fn expecting(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                        f.write_str(concat!("a ", $system, " code"))
                    }

                    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<$name, E> {
                        text.parse().map_err(E::custom)
                    }
                }

                deserializer.deserialize_str(Code)
            }
        }
    };
}
pub(crate) use codes;

codes! {
    /// Why a record is wanted: HL7 `v3-ActReason`, purposes of use.
    Purpose, "purpose",
    {
        /// Treatment.
        Treat = "TREAT",
        /// Emergency treatment.
        EmergencyTreat = "ETREAT",
        /// Break the glass.
        BreakGlass = "BTG",
        /// Coordination of care.
        Coordination = "COC",
        /// Clinical trial, as care.
        ClinicalTrial = "CLINTRL",
        /// Healthcare payment.
        Payment = "HPAYMT",
        /// Coverage.
        Coverage = "COVERAGE",
        /// Healthcare operations.
        Operations = "HOPERAT",
        /// Quality improvement.
        QualityImprovement = "HQUALIMP",
        /// Legal compliance.
        Compliance = "HCOMPL",
        /// Patient administration.
        PatientAdministration = "PATADMIN",
        /// Patient safety.
        PatientSafety = "PATSFTY",
        /// Records management.
        RecordManagement = "RECORDMGT",
        /// Training.
        Training = "TRAIN",
        /// System administration.
        SystemAdministration = "HSYSADMIN",
        /// The review of a submitted record by a records officer.
        Review = "HUAPRV",
        /// Healthcare research.
        Research = "HRESCH",
        /// Biomedical research.
        BiomedicalResearch = "BIORCH",
        /// Clinical trial research.
        ClinicalTrialResearch = "CLINTRCH",
        /// Disease-specific research.
        DiseaseResearch = "DSRCH",
        /// Translational research.
        TranslationalResearch = "TRANSRCH",
        /// Public health.
        PublicHealth = "PUBHLTH",
        /// Disaster.
        Disaster = "DISASTER",
        /// Threat.
        Threat = "THREAT",
        /// The patient's own request.
        PatientRequest = "PATRQT",
        /// A request of the patient's family.
        FamilyRequest = "FAMRQT",
        /// A request under a power of attorney.
        PowerOfAttorney = "PWATRNY",
        /// A request of the patient's support network.
        SupportNetwork = "SUPNWK",
        /// Healthcare marketing.
        Marketing = "HMARKT",
    }
}

impl Purpose {
    /// The purpose that contains this one, if any.
    pub const fn parent(self) -> Option<Self> {
        match self {
            Self::EmergencyTreat | Self::Coordination | Self::ClinicalTrial => Some(Self::Treat),
            Self::BreakGlass => Some(Self::EmergencyTreat),
            Self::Coverage => Some(Self::Payment),
            Self::QualityImprovement
            | Self::Compliance
            | Self::PatientAdministration
            | Self::PatientSafety
            | Self::RecordManagement
            | Self::Training
            | Self::SystemAdministration
            | Self::Review => Some(Self::Operations),
            Self::BiomedicalResearch
            | Self::ClinicalTrialResearch
            | Self::DiseaseResearch
            | Self::TranslationalResearch => Some(Self::Research),
            Self::Disaster | Self::Threat => Some(Self::PublicHealth),
            Self::FamilyRequest | Self::PowerOfAttorney | Self::SupportNetwork => {
                Some(Self::PatientRequest)
            }
            Self::Treat
            | Self::Payment
            | Self::Operations
            | Self::Research
            | Self::PublicHealth
            | Self::PatientRequest
            | Self::Marketing => None,
        }
    }

    /// Whether `other` is this purpose or contained in it.
    pub const fn subsumes(self, other: Self) -> bool {
        let mut current = Some(other);
        while let Some(purpose) = current {
            if purpose as u8 == self as u8 {
                return true;
            }
            current = purpose.parent();
        }
        false
    }

    /// How many purposes contain this one.
    pub const fn depth(self) -> u8 {
        let mut depth = 0;
        let mut current = self.parent();
        while let Some(purpose) = current {
            depth += 1;
            current = purpose.parent();
        }
        depth
    }
}

codes! {
    /// How confidential a record is, in ascending order: HL7 `v3-Confidentiality`.
    Confidentiality, "confidentiality",
    {
        /// Unrestricted.
        Unrestricted = "U",
        /// Low.
        Low = "L",
        /// Moderate.
        Moderate = "M",
        /// Normal.
        Normal = "N",
        /// Restricted.
        Restricted = "R",
        /// Very restricted.
        VeryRestricted = "V",
    }
}

codes! {
    /// What makes a record sensitive: HL7 `v3-ActCode`, information sensitivity policies.
    SensitivityLabel, "sensitivity label",
    {
        /// Substance abuse, alcohol included.
        SubstanceAbuse = "ETH",
        /// Substance use disorder.
        SubstanceUse = "SUD",
        /// Opioid use disorder.
        OpioidUse = "OPIOIDUD",
        /// Psychiatry.
        Psychiatry = "PSY",
        /// Mental health.
        MentalHealth = "MH",
        /// Behavioral health.
        BehavioralHealth = "BH",
        /// HIV or AIDS.
        Hiv = "HIV",
        /// Sexually transmitted disease.
        Std = "STD",
        /// Sexuality and reproductive health.
        SexualHealth = "SEX",
        /// Pregnancy.
        Pregnancy = "PREGNANT",
        /// Sexual assault, abuse or domestic violence.
        DomesticViolence = "SDV",
        /// Genetic disease.
        GeneticDisease = "GDIS",
        /// Sickle cell anemia.
        SickleCell = "SCA",
        /// Violence.
        Violence = "VIO",
        /// Adolescent.
        Adolescent = "ADOL",
        /// Celebrity.
        Celebrity = "CEL",
    }
}

codes! {
    /// What kind of document a record is: the FHIR R4 `observation-category` codes, US Core's
    /// `clinical-note`, and the common kinds of documents.
    Category, "category",
    {
        /// A summary of the patient's care as one bundle (LOINC 60591-5).
        PatientSummary = "patient-summary",
        /// A note by a clinician.
        ClinicalNote = "clinical-note",
        /// A discharge summary (LOINC 18842-5).
        DischargeSummary = "discharge-summary",
        /// Laboratory results.
        Laboratory = "laboratory",
        /// Images and their reports.
        Imaging = "imaging",
        /// Vital signs.
        VitalSigns = "vital-signs",
        /// Procedures.
        Procedure = "procedure",
        /// Findings of an examination.
        Exam = "exam",
        /// Surveys and questionnaires.
        Survey = "survey",
        /// Therapy.
        Therapy = "therapy",
        /// Activity.
        Activity = "activity",
        /// Social history.
        SocialHistory = "social-history",
        /// Medications.
        Medication = "medication",
        /// Immunizations.
        Immunization = "immunization",
        /// Problems and diagnoses.
        Problem = "problem-list-item",
        /// Care plans.
        CarePlan = "care-plan",
        /// Genetic test results.
        Genetics = "genetics",
    }
}

codes! {
    /// What a certificate's owner does.
    Role, "role",
    {
        /// Owns the records about her.
        Patient = "patient",
        /// Gives care.
        Practitioner = "practitioner",
        /// Reviews submitted records.
        RecordsOfficer = "records-officer",
        /// Answers for privacy.
        PrivacyOfficer = "privacy-officer",
        /// Uses records for a study.
        Researcher = "researcher",
        /// Reports vital signs of one patient.
        Device = "device",
        /// Runs an organization's nodes.
        Admin = "admin",
        /// A peer.
        Peer = "peer",
        /// A program without a role in care.
        Client = "client",
    }
}

impl Role {
    /// Whether the role is one of an organization's people who work with records. Patients,
    /// devices, nodes and their administrators carry their organization's certificate too, but a
    /// consent for the organization is not meant for them.
    pub const fn is_workforce(self) -> bool {
        matches!(
            self,
            Self::Practitioner | Self::RecordsOfficer | Self::PrivacyOfficer | Self::Researcher
        )
    }
}

codes! {
    /// What a consent is about: HL7 `consentscope`.
    Scope, "scope",
    {
        /// Who may read the patient's records, for whatever purpose but a study's.
        PatientPrivacy = "patient-privacy",
        /// What a study may do with them.
        Research = "research",
    }
}

impl Scope {
    /// Whether this is the scope of a consent that does not say it.
    pub(crate) fn is_default(&self) -> bool {
        *self == Self::PatientPrivacy
    }
}

codes! {
    /// In which form a study gets the records, in ascending order: HL7 `v3-ActCode`.
    ResearchCategory, "research category",
    {
        /// Without what identifies the patient.
        DeIdentified = "RSDID",
        /// So that the study can find out who the patient is.
        ReIdentifiable = "RSREID",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_round_trip_and_unknown_ones_are_refused() {
        for purpose in Purpose::ALL {
            assert_eq!(purpose.code().parse(), Ok(*purpose));
        }
        for label in SensitivityLabel::ALL {
            assert_eq!(label.code().parse(), Ok(*label));
        }
        for bad in ["", "treat", "TREAT ", "XYZ"] {
            assert_eq!(
                bad.parse::<Purpose>(),
                Err(UnknownCode { system: "purpose" })
            );
        }
    }

    #[test]
    fn subsumption_follows_the_table() {
        let check = |outer: Purpose, inner: Purpose, expected: bool| {
            assert_eq!(outer.subsumes(inner), expected, "{outer} {inner}");
        };
        check(Purpose::Treat, Purpose::BreakGlass, true);
        check(Purpose::EmergencyTreat, Purpose::BreakGlass, true);
        check(Purpose::BreakGlass, Purpose::EmergencyTreat, false);
        check(Purpose::Coordination, Purpose::EmergencyTreat, false);
        check(Purpose::Research, Purpose::ClinicalTrial, false);
        check(Purpose::Treat, Purpose::ClinicalTrial, true);
        check(Purpose::Marketing, Purpose::Marketing, true);
        assert_eq!(Purpose::BreakGlass.depth(), 2);
        assert_eq!(Purpose::Treat.depth(), 0);
    }

    #[test]
    fn confidentiality_ascends() {
        assert!(Confidentiality::ALL.is_sorted());
        assert!(Confidentiality::Normal < Confidentiality::Restricted);
    }
}
