//! The ready-made policies of IHE PCF, volume 1, section 1:53.2.1.
//!
//! IHE presumes that an access control in front of them knows whose use is authorized. Here nothing
//! stands in front, so a policy says it itself.

use alloc::vec;
use alloc::vec::Vec;

use crate::code::{Confidentiality, Purpose, Role, SensitivityLabel, codes};
use crate::hex::Id;
use crate::model::{Actor, Consent, Provision};

codes! {
    /// A policy that a patient takes as it is, named by the last part of its address.
    Policy, "policy",
    {
        /// Clinicians may treat; nobody may do anything else. Practitioners of any organization,
        /// for `TREAT`, records up to `N` without sensitivity labels.
        BasicNormal = "Policy-basic-normal",
        /// All authorized uses. The workforce of any organization, for what 45 CFR 164.506, 164.512
        /// and 164.524 let them do without an authorization of the patient: treatment, payment,
        /// operations, public health and her own requests; records up to `N` without sensitivity
        /// labels. Research and marketing need one of their own (164.508).
        AllNormal = "Policy-all-normal",
        /// Nothing, except that practitioners may break the glass (`BTG`), for any record.
        BreakGlassOnly = "Policy-break-glass-only",
        /// Nothing.
        Deny = "Policy-deny",
    }
}

impl Policy {
    /// The start of a policy's canonical address, before its code.
    pub const BASE_URI: &'static str = "https://profiles.ihe.net/ITI/PCF/";

    /// The consent that is this policy.
    pub fn consent(self, id: Id) -> Consent {
        Consent::of_policy(id, self)
    }

    pub(crate) fn provisions(self) -> (Provision, Vec<Provision>) {
        match self {
            Self::BasicNormal => {
                let treat = Provision {
                    actor: Some(Actor::Role(Role::Practitioner)),
                    ..Provision::permit([Purpose::Treat])
                };
                (treat, Vec::new())
            }
            Self::AllNormal => {
                let authorized = [
                    Purpose::Treat,
                    Purpose::Payment,
                    Purpose::Operations,
                    Purpose::PublicHealth,
                    Purpose::PatientRequest,
                ];
                (Provision::permit(authorized), Vec::new())
            }
            Self::BreakGlassOnly => {
                let break_glass = Provision {
                    actor: Some(Actor::Role(Role::Practitioner)),
                    ceiling: Some(Confidentiality::VeryRestricted),
                    labels: SensitivityLabel::ALL.to_vec(),
                    ..Provision::permit([Purpose::BreakGlass])
                };
                (Provision::deny(), vec![break_glass])
            }
            Self::Deny => (Provision::deny(), Vec::new()),
        }
    }
}
