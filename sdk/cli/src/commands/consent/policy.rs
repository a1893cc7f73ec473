//! The ready-made policies of IHE Privacy Consent on FHIR.

use serde::Serialize;
use stela_consent::{Hex, Policy};
use stela_records::care::Session;

use crate::arguments::ReadyMade;
use crate::output::{Output, table};
use crate::profile::Profile;

#[derive(Serialize)]
struct Offered {
    policy: Policy,
    address: String,
    says: &'static str,
}

pub(super) async fn run(
    profile: &Profile,
    session: &Session,
    command: ReadyMade,
    output: &Output,
) -> anyhow::Result<()> {
    match command {
        ReadyMade::List => {
            let all: Vec<Offered> = Policy::ALL.iter().copied().map(offered).collect();
            output.answer(&all, |all| {
                let row = |one: &Offered| vec![one.policy.to_string(), one.says.to_owned()];
                let rows: Vec<_> = all.iter().map(row).collect();
                table(&["POLICY", "SAYS"], &rows)
            })
        }
        ReadyMade::Grant { policy, patient } => {
            let consent = policy.consent(Hex(rand::random()));
            super::grant(profile, session, patient, &consent, output).await
        }
    }
}

fn offered(policy: Policy) -> Offered {
    Offered {
        policy,
        address: format!("{}{policy}", Policy::BASE_URI),
        says: match policy {
            Policy::BasicNormal => "practitioners may treat; nobody may do anything else",
            Policy::AllNormal => {
                "treatment, payment, operations, public health and her own requests"
            }
            Policy::BreakGlassOnly => "nothing, except that practitioners may break the glass",
            Policy::Deny => "nothing",
        },
    }
}
