//! Before a flow is denied for want of a rule: asks a person, where there is one to ask.

use std::sync::Arc;

use crate::client::Client;
use crate::consent::{Answer, Consent};
use crate::flow::Flow;
use crate::host::Name;
use crate::policy::{Question, Wish};
use crate::proxy::{Proxy, Standing};
use crate::reason::Reason;

impl Proxy {
    /// Leaves the standing that the flow is to be judged by: that which it has, or the one that a person's yes makes of it.
    pub async fn settle(&self, flow: &Flow, standing: &mut Arc<Standing>, question: &Question<'_>) {
        let Some(consent) = &self.consent else { return };
        *standing = self.refreshed(standing);
        let wish = Wish::of(question, &standing.decide(question));
        if let Some(wish) = wish {
            // Boxed, so that flows whom nobody is asked about don't pay for it.
            *standing = Box::pin(self.ask(consent, flow, standing, &wish, false)).await;
        }
    }

    /// The same for the look-up of a name.
    pub async fn settle_name(&self, flow: &Flow, standing: &mut Arc<Standing>, name: &Name) {
        let Some(consent) = &self.consent else { return };
        if standing.inquire(name, None).reason == Reason::NoRule {
            *standing = Box::pin(self.ask(consent, flow, standing, &Wish::of_name(name), true)).await;
        }
    }

    async fn ask(
        &self,
        consent: &Consent,
        flow: &Flow,
        standing: &Arc<Standing>,
        wish: &Wish,
        looks_up: bool,
    ) -> Arc<Standing> {
        // If it has to end meanwhile, it is denied like any other, by the policy that there was.
        let answer = flow.unless_stopped(consent.wait(wish, looks_up)).await.unwrap_or(Answer::Nothing);
        match answer {
            Answer::Once(leave) => {
                flow.leave(leave);
                self.standing(Client { leave: Some(leave), ..standing.client.clone() })
            }
            Answer::Always => self.standing(standing.client.clone()),
            Answer::Never | Answer::Nothing => Arc::clone(standing),
        }
    }
}
