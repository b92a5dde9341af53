//! Request heads that could mean two things, or that mean nothing here, are refused.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::{ALLOW, CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::uri::Authority;
use http::{HeaderValue, Method, Request, Version};
use signalbox_contract::{Code, Problem};

use super::options::MAX_URI;
use super::problem::Refusal;
use super::wire::HeadFault;

/// Checks what can be checked of any head, before anything else looks at it. The refusal is boxed, for it is rare.
pub(super) fn check(request: &Request<Body>) -> Result<(), Box<Response>> {
    check_method(request.method())?;
    let refuse = |problem: Problem| Err(Box::new(Refusal(problem).into_response()));
    let uri = request.uri();
    if uri.path_and_query().is_some_and(|text| text.as_str().len() > MAX_URI) {
        return refuse(Problem::new(Code::UriTooLong).detail(format!("Path and query may have {MAX_URI} bytes.")));
    }
    match check_framing(request).and_then(|()| check_host(request)) {
        Ok(()) => Ok(()),
        Err((field, detail)) => refuse(Problem::new(Code::InvalidRequest).detail("The request's head is not valid.").field(field, detail)),
    }
}

/// A header at fault, and what is wrong with it.
type Fault = (&'static str, &'static str);

/// Methods that no service has are refused whatever the path.
fn check_method(method: &Method) -> Result<(), Box<Response>> {
    let known = [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::DELETE, Method::PATCH, Method::OPTIONS];
    if known.contains(method) {
        return Ok(());
    }
    let mut response = Refusal(Problem::new(Code::MethodNotAllowed)).into_response();
    response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD, POST, PUT, DELETE, PATCH"));
    Err(Box::new(response))
}

/// Two ways to say where a body ends are one too many: whoever stands before this service may have chosen the other.
fn check_framing(request: &Request<Body>) -> Result<(), Fault> {
    if let Some(fault) = request.extensions().get::<HeadFault>() {
        return Err(fault.words());
    }
    let headers = request.headers();
    let mut encodings = headers.get_all(TRANSFER_ENCODING).iter();
    if let Some(encoding) = encodings.next() {
        if headers.contains_key(CONTENT_LENGTH) {
            return Err(HeadFault::TwoLengths.words());
        }
        if encodings.next().is_some() || !encoding.as_bytes().eq_ignore_ascii_case(b"chunked") {
            return Err(("transfer-encoding", "must be chunked, once, and nothing else"));
        }
    }
    Ok(())
}

/// There is one host, and nothing contradicts it.
fn check_host(request: &Request<Body>) -> Result<(), Fault> {
    let mut hosts = request.headers().get_all(HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(("host", "stands there more than once"));
    }
    let target = request.uri().authority();
    if target.is_some_and(|target| target.as_str().contains('@')) {
        return Err((":authority", "must not hold a user"));
    }
    let Some(host) = host else {
        // HTTP/2 says it in `:authority`; HTTP/1.0 need not say it at all.
        let needless = request.version() <= Version::HTTP_10 || target.is_some() && request.version() >= Version::HTTP_2;
        return if needless { Ok(()) } else { Err(("host", "is missing")) };
    };
    let parsed = Authority::try_from(host.as_bytes()).ok();
    let parsed = parsed.filter(|host| !host.as_str().contains('@') && !host.host().is_empty() && has_good_port(host));
    let Some(host) = parsed else {
        return Err(("host", "is no host, with or without a port"));
    };
    match target {
        Some(target) if !same(target, &host, request.uri().scheme_str()) => Err(("host", "is another one than the request's target")),
        _ => Ok(()),
    }
}

/// Whether the port is a port, where there is one. What takes an authority apart looks at the host alone.
fn has_good_port(authority: &Authority) -> bool {
    let port = authority.as_str().strip_prefix(authority.host());
    port.is_some_and(|port| matches!(port, "" | ":") || authority.port_u16().is_some())
}

/// Whether two authorities are one, with the scheme's own port left out or written.
fn same(a: &Authority, b: &Authority, scheme: Option<&str>) -> bool {
    let usual = match scheme {
        Some("https") => Some(443),
        Some("http") => Some(80),
        _ => None,
    };
    a.host().eq_ignore_ascii_case(b.host()) && a.port_u16().or(usual) == b.port_u16().or(usual)
}
