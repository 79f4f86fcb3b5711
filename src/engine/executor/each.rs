//! The same with every candidate, and which of them is to blame.

use futures_util::future::try_join_all;

use crate::model::ContainerId;

use super::{Halt, Stepped, Swap};

/// A candidate with which something could not be done.
pub(super) struct Blame {
    id: ContainerId,
    halt: Halt,
}

impl Swap<'_> {
    /// Does something with every candidate at the same time. The first failure ends it.
    pub(super) async fn of_each<'s, T, F>(&'s self, work: impl Fn(&'s ContainerId) -> F) -> Result<Vec<T>, Blame>
    where
        F: Future<Output = Result<T, Halt>> + 's,
        T: 's,
    {
        let blaming = |id: &'s ContainerId| {
            let done = work(id);
            async move { done.await.map_err(|halt| Blame { id: id.clone(), halt }) }
        };
        try_join_all(self.candidates.iter().map(blaming)).await
    }

    /// Does something with one candidate after the other, until it fails.
    pub(super) async fn one_after_the_other<'s, F>(
        &'s self,
        work: impl Fn(&'s ContainerId) -> F,
    ) -> Result<Vec<String>, Blame>
    where
        F: Future<Output = Stepped> + 's,
    {
        let mut all = Vec::new();
        for id in &self.candidates {
            all.push(work(id).await.map_err(|halt| Blame { id: id.clone(), halt })?);
        }
        Ok(all)
    }

    /// As `blamed_all`, with what is to be said of each.
    pub(super) async fn blamed(&mut self, done: Result<Vec<String>, Blame>) -> Stepped {
        // A plan that lacks a candidate is a bug of the planner.
        self.candidate()?;
        let mut notes = self.blamed_all(done).await?;
        notes.retain(|note| !note.is_empty());
        Ok(notes.join("; "))
    }

    /// Remembers which candidate failed, and says so where there are several.
    pub(super) async fn blamed_all<T>(&mut self, done: Result<Vec<T>, Blame>) -> Result<Vec<T>, Halt> {
        let Blame { id, halt } = match done {
            Ok(all) => return Ok(all),
            Err(blame) => blame,
        };
        let Halt::Failed(reason, message) = halt else { return Err(halt) };
        let several = self.candidates.len() + self.plan.stay.len() > 1;
        let message = if several { format!("{}: {message}", self.name_of(&id).await) } else { message };
        self.culprit = Some(id);
        Err(Halt::Failed(reason, message))
    }

    async fn name_of(&self, id: &ContainerId) -> String {
        self.inspect(id).await.map_or_else(|_| id.short().to_owned(), |container| container.name)
    }

    /// The candidate whose words are the evidence: the one that failed, or else the first.
    pub(super) fn witness(&self) -> Option<&ContainerId> {
        self.culprit.as_ref().or(self.candidates.first())
    }
}
