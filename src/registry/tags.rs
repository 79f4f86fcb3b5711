//! The list of a repository's tags, page by page.
//!
//! Registries end a page where they like, sort as they like, and say where it goes on as they like. Of a `Link` only the
//! query is used: host and path stay ours, so that nothing that introduces us can go elsewhere, and links that a registry
//! behind another name or prefix gets wrong lead on all the same.

use std::collections::{BTreeSet, HashSet};

use http::header::{ETAG, LINK};
use http::{HeaderMap, Method, StatusCode};
use serde::Deserialize;
use tokio::time::{Duration, timeout};

use crate::model::{CachedTags, Repository, Tag, TagList};
use crate::ports::{RegistryError, RegistryErrorKind};

use super::client::Client;
use super::host::{Answer, Ask, Host};

/// Tags asked for at once: ECR refuses more (registries that have less a page say how it goes on).
const PAGE: usize = 1000;

/// A longer list is not read to its end, and not used: what is missing could be the newest.
const LONGEST: usize = 50_000;

/// Pages of a list: a registry that has fifty a page can have this many tags.
const PAGES: usize = 1000;

/// Answers to the first question that are made sense of.
const ODD: [StatusCode; 3] = [StatusCode::NOT_MODIFIED, StatusCode::BAD_REQUEST, StatusCode::METHOD_NOT_ALLOWED];

/// For the whole list; each page has the time-out of any document besides.
const PATIENCE: Duration = Duration::from_secs(180);

#[derive(Deserialize)]
struct Page {
    /// `null` when there are none.
    tags: Option<Vec<String>>,
}

/// A list as it grows.
#[derive(Default)]
struct Reading {
    tags: BTreeSet<Tag>,
    /// What can't be a tag by the specification's grammar.
    refused: usize,
    asked: HashSet<String>,
}

/// Reads the whole list.
pub(super) async fn read(
    client: &Client,
    host: &Host,
    repository: &Repository,
    last: Option<&CachedTags>,
) -> Result<TagList, RegistryError> {
    let silence = |_| {
        let words = format!("its list of tags took more than {} s", PATIENCE.as_secs());
        host.error(RegistryErrorKind::Unreachable, repository, &words, None)
    };
    timeout(PATIENCE, pages(client, host, repository, last)).await.map_err(silence)?
}

async fn pages(
    client: &Client,
    host: &Host,
    repository: &Repository,
    last: Option<&CachedTags>,
) -> Result<TagList, RegistryError> {
    let mut reading = Reading::default();
    let mut query = format!("n={PAGE}");
    let mut pages = 0_usize;
    let etag = loop {
        // Only of the first page of a list that has no other an ETag was kept.
        let if_none_match = last.filter(|_| reading.asked.is_empty()).map(|last| last.etag.as_str());
        let path = if query.is_empty() { "tags/list".to_owned() } else { format!("tags/list?{query}") };
        let ask = Ask { method: Method::GET, repository, path, if_none_match };
        let fine = if reading.asked.is_empty() { ODD.as_slice() } else { &[] };
        let answer = client.ask(host, &ask, fine).await?;
        reading.asked.insert(std::mem::take(&mut query));
        match answer.status.as_u16() {
            304 if if_none_match.is_some() => return Ok(TagList::Unchanged),
            200..=299 => {}
            // It may be `n` that it does not like.
            400 | 405 => continue,
            status => {
                let words = format!("its list of tags is answered with {status}, which was not asked for");
                return Err(host.error(RegistryErrorKind::Protocol, repository, &words, None));
            }
        }
        pages += 1;
        match reading.take(&answer, host, repository)? {
            Some(next) => query = next,
            None => break if pages == 1 { kept_etag(&answer.headers) } else { None },
        }
    };
    if reading.refused > 0 {
        tracing::debug!(registry = host.name, repository = repository.path(), refused = reading.refused, "odd tags");
    }
    let cached = etag.map(|etag| CachedTags { etag });
    Ok(TagList::Listed { tags: reading.tags.into_iter().collect(), cached })
}

impl Reading {
    /// Takes a page; the query of the next, if there is one.
    fn take(&mut self, answer: &Answer, host: &Host, repository: &Repository) -> Result<Option<String>, RegistryError> {
        let protocol = |words: &str| host.error(RegistryErrorKind::Protocol, repository, words, None);
        let page: Page = serde_json::from_slice(&answer.body)
            .map_err(|error| protocol(&format!("its list of tags makes no sense ({error})")))?;
        let tags = page.tags.unwrap_or_default();
        let (found, last) = (tags.len(), tags.last().cloned());
        let before = self.tags.len();
        for text in tags {
            match text.parse::<Tag>() {
                Ok(tag) => drop(self.tags.insert(tag)),
                Err(_) => self.refused += 1,
            }
        }
        let link = next_link(&answer.headers);
        // A full page without a link may be a registry's that knows `last` only. One that ignores `last` as well brings
        // nothing new, and that is the end.
        let by_last = || {
            let last = last.filter(|_| found == PAGE && self.tags.len() > before)?;
            let last: String = url::form_urlencoded::byte_serialize(last.as_bytes()).collect();
            Some(format!("n={PAGE}&last={last}"))
        };
        let next = match link {
            Some(Ok(query)) => Some(query),
            Some(Err(link)) => {
                return Err(protocol(&format!("its list of tags goes on at {link:?}, which has no query")));
            }
            None => by_last(),
        };
        let Some(next) = next else { return Ok(None) };
        if self.asked.contains(&next) {
            return Err(protocol("its list of tags goes round in a circle"));
        }
        if self.tags.len() >= LONGEST || self.asked.len() >= PAGES {
            let (tags, pages) = (self.tags.len(), self.asked.len());
            return Err(protocol(&format!(
                "its list of tags does not end after {tags} tags on {pages} pages, and is not used in part: remove old \
                 tags, or follow one tag by its name"
            )));
        }
        Ok(Some(next))
    }
}

/// The query of the link that is the next page (RFC 8288); an error is a link without one.
pub(super) fn next_link(headers: &HeaderMap) -> Option<Result<String, String>> {
    let values = headers.get_all(LINK).iter().filter_map(|value| value.to_str().ok());
    let target = values.flat_map(links).find(|(_, is_next)| *is_next)?.0;
    let query = target.split_once('?').map(|(_, query)| query.split('#').next().unwrap_or_default());
    Some(match query {
        Some(query) if !query.is_empty() => Ok(query.to_owned()),
        _ => Err(target.chars().take(200).collect()),
    })
}

/// The targets of a header's value, and whether each is the next page.
fn links(value: &str) -> Vec<(&str, bool)> {
    let mut found = Vec::new();
    let mut rest = value;
    while let Some((target, after)) = rest.split_once('<').and_then(|(_, rest)| rest.split_once('>')) {
        let end = after.find('<').unwrap_or(after.len());
        let (parameters, next) = after.split_at_checked(end).unwrap_or((after, ""));
        let is_next = parameters.split([';', ',']).any(|parameter| {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let relations = value.trim().trim_matches('"');
            name.trim().eq_ignore_ascii_case("rel") && relations.split(' ').any(|rel| rel.eq_ignore_ascii_case("next"))
        });
        found.push((target, is_next));
        rest = next;
    }
    found
}

/// An ETag that may be sent back.
fn kept_etag(headers: &HeaderMap) -> Option<String> {
    let etag = headers.get(ETAG)?.to_str().ok()?;
    let opaque = etag.strip_prefix("W/").unwrap_or(etag);
    (opaque.len() > 2 && opaque.starts_with('"') && opaque.ends_with('"')).then(|| etag.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_is_found_in_every_spelling_of_a_link() {
        for (value, next) in [
            (r#"</v2/a/tags/list?n=2&last=b>; rel="next""#, Some(Ok("n=2&last=b"))),
            (r#"<https://r.example/v2/a/tags/list?next_page=x%3D>; rel=next"#, Some(Ok("next_page=x%3D"))),
            (r#"</first?n=1>; rel="first", </next?n=2>; title="a, b"; REL="last next""#, Some(Ok("n=2"))),
            (r#"</v2/a/tags/list?n=2#top>; rel="next""#, Some(Ok("n=2"))),
            (r#"</v2/a/tags/list>; rel="next""#, Some(Err("/v2/a/tags/list"))),
            (r#"</v2/a/tags/list?n=2>; rel="prev""#, None),
            ("rubbish", None),
            ("<", None),
        ] {
            let headers: HeaderMap = [(LINK, value.parse().unwrap())].into_iter().collect();
            let found = next_link(&headers);
            assert_eq!(found.as_ref().map(|r| r.as_deref().map_err(String::as_str)), next, "{value}");
        }
    }

    #[test]
    fn only_an_etag_by_the_book_is_kept() {
        for (etag, kept) in [(r#""abc""#, true), (r#"W/"abc""#, true), ("abc", false), (r#""""#, false), ("W/", false)]
        {
            let headers: HeaderMap = [(ETAG, etag.parse().unwrap())].into_iter().collect();
            assert_eq!(kept_etag(&headers).is_some(), kept, "{etag}");
        }
    }
}
