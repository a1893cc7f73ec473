//! Whether an approved permit is no broader than the one that was asked for.

use core::fmt;

use crate::code::{Confidentiality, codes};
use crate::model::{Consent, Period, Provision, ProvisionType};

codes! {
    /// A field of a consent's JSON form.
    Field, "field",
    {
        /// The type: only permits are compared.
        Type = "type",
        /// The scope.
        Scope = "scope",
        /// The research category.
        Research = "research",
        /// Who.
        Actor = "actor",
        /// Why.
        Purpose = "purpose",
        /// The highest confidentiality.
        Max = "max",
        /// Sensitivity labels.
        Label = "label",
        /// Categories of records.
        Category = "category",
        /// When the permit is in force.
        Period = "period",
        /// Of when the records are.
        Data = "data",
        /// Named records.
        Record = "record",
        /// Exceptions.
        Except = "except",
    }
}

/// The first field in which a permit is broader than the one that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Broader(pub Field);

impl fmt::Display for Broader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is broader than what was asked for", self.0)
    }
}

impl core::error::Error for Broader {}

impl Provision {
    /// Whether this permit is for the same actor as `asked` and opens nothing that `asked` does
    /// not.
    ///
    /// # Errors
    /// [`Broader`] with the field; with [`Field::Type`] when one of them is a deny.
    pub fn is_within(&self, asked: &Self) -> Result<(), Broader> {
        let permits = [self, asked].map(|one| one.kind == ProvisionType::Permit);
        let purpose = |own| asked.purposes.iter().any(|one| one.subsumes(own));
        let level = |one: &Self| one.ceiling.unwrap_or(Confidentiality::Normal);
        [
            (Field::Type, permits == [true; 2]),
            (Field::Actor, self.actor == asked.actor),
            (Field::Purpose, self.purposes.iter().copied().all(purpose)),
            (Field::Max, level(self) <= level(asked)),
            (Field::Label, all_in(&self.labels, &asked.labels)),
            (
                Field::Category,
                narrows(&self.categories, &asked.categories),
            ),
            (Field::Period, inside(self.period, asked.period)),
            (Field::Data, inside(self.data_period, asked.data_period)),
            (Field::Record, narrows(&self.records, &asked.records)),
        ]
        .into_iter()
        .try_for_each(|(field, holds)| holds.then_some(()).ok_or(Broader(field)))
    }
}

impl Consent {
    /// Whether this consent alone permits nothing that `asked` alone does not: its base provision
    /// is within that of `asked`, it has the scope of `asked`, gives a study no more than `asked`,
    /// and keeps every exception of `asked`. Further exceptions only narrow it.
    ///
    /// # Errors
    /// [`Broader`] with the field.
    pub fn is_within(&self, asked: &Self) -> Result<(), Broader> {
        if self.scope() != asked.scope() {
            return Err(Broader(Field::Scope));
        }
        if self.research() > asked.research() {
            return Err(Broader(Field::Research));
        }
        self.provision().is_within(asked.provision())?;
        if !all_in(asked.exceptions(), self.exceptions()) {
            return Err(Broader(Field::Except));
        }
        Ok(())
    }
}

fn all_in<T: PartialEq>(own: &[T], listed: &[T]) -> bool {
    own.iter().all(|one| listed.contains(one))
}

/// Like [`all_in`], for lists that mean everything when they are empty.
fn narrows<T: PartialEq>(own: &[T], asked: &[T]) -> bool {
    asked.is_empty() || (!own.is_empty() && all_in(own, asked))
}

fn inside(own: Option<Period>, asked: Option<Period>) -> bool {
    let Some(asked) = asked else {
        return true;
    };
    own.is_some_and(|own| {
        let starts = own.start_ms().unwrap_or(0) >= asked.start_ms().unwrap_or(0);
        let ends = asked
            .end_ms()
            .is_none_or(|latest| own.end_ms().is_some_and(|end| end <= latest));
        starts && ends
    })
}
