//! The part of the story in which a practitioner asks for a consent.

use stela_consent::Id;

use super::{Documents, Story, id, read_words, refs, written_text};
use crate::evidence::Asked;
use crate::users;

impl Story<'_> {
    /// HospitalC's consultant asks, the patient grants a part of it, the consultant reads.
    pub(super) async fn ask_for_consent(
        &mut self,
        shared: (Id, Id),
        documents: &mut Documents,
    ) -> anyhow::Result<Asked> {
        let consultant = users::consultant();
        let note = self.file("note.txt");
        let text = written_text(&note, "Your cardiologist asked me for my view.", documents)?;
        let patient = shared.0.to_string();
        let words = [
            "consent",
            "request",
            "--patient",
            &patient,
            "--purpose",
            "TREAT",
            "--category",
            "patient-summary",
            "--category",
            "laboratory",
            "--days",
            "90",
            "--reason",
            "second-opinion",
            "--note",
            &text,
        ];
        let what =
            "HospitalC's consultant asks the patient for a consent, with a note for her alone";
        let answer = self.run_with_content(&consultant, what, &words).await?;
        let request = id(&answer, "request")?;
        let number = request.to_string();
        let what = "the patient reads the note";
        let words = ["consent", "note", &number];
        let user = users::patient(shared.0);
        self.run_with_content(&user, what, &words).await?;
        let words = [
            "consent",
            "answer",
            &number,
            "--approve",
            "--category",
            "patient-summary",
            "--days",
            "7",
        ];
        let what = "and grants a part: one category of two, for a week";
        self.run(&user, what, &words).await?;
        let read = self.file("read-as-asked.json");
        let words = read_words(shared, "2", &read);
        self.run(&consultant, "the consultant reads version 2", &refs(&words))
            .await?;
        Ok(Asked {
            by: self.fingerprint(&consultant)?,
            request,
            read,
            note,
        })
    }
}
