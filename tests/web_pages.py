"""Pages as the programs that make blogs lay them out: their elements and classes, own words."""

import html
from collections.abc import Callable

from web_posts import BLOCKS, KRAMDOWN, MARKDOWN, Post, marked_up

SITE = "Notes from the quay"
WIDGET = "An old post about gulls, which has been read more often than all of the others together."
OTHERS = ("On keeping string", "Gulls, a complaint", "Why the clock is slow")
COMMENT = "Lovely. I had a tree like that once, and it never bore anything either. Best wishes, Ada"


def block_theme(post: Post) -> str:
    """WordPress with a theme of blocks, like Twenty Twenty-Four."""
    links = "".join(
        f'<li class="wp-block-navigation-item"><a href="/{i}/"><span>{name}</span></a></li>'
        for i, name in enumerate(("About", "Archive", "Contact"))
    )
    return f"""<!DOCTYPE html>
<html lang="en-GB"><head><meta charset="UTF-8" />
<meta name="generator" content="WordPress 6.5" />
<title>{html.escape(post.title)} &#8211; {SITE}</title>
<style>.wp-block-verse{{overflow:auto}}</style><script>window.x = "<p>no</p>";</script></head>
<body class="post-template-default single single-post postid-7 single-format-standard">
<a class="skip-link screen-reader-text" href="#wp--skip-link--target">Skip to content</a>
<div class="wp-site-blocks">
<header class="wp-block-template-part"><div class="wp-block-group">
<p class="wp-block-site-title"><a href="/" rel="home">{SITE}</a></p>
<nav class="wp-block-navigation" aria-label="Navigation"><ul>{links}</ul></nav></div></header>
<main class="wp-block-group alignfull"><div class="wp-block-group">
<h1 class="wp-block-post-title has-x-large-font-size">{html.escape(post.title)}</h1>
<div class="wp-block-group"><div class="wp-block-post-date">
<time datetime="{post.date}T08:30:00+01:00">4 March</time></div>
<p class="has-contrast-2-color">by</p><div class="wp-block-post-author-name">
<a href="/author/j">Jo Quay</a></div>
<div class="taxonomy-category wp-block-post-terms">
<span class="wp-block-post-terms__prefix">in </span><a href="/c" rel="tag">Notes</a></div></div>
</div>
<div class="entry-content alignfull wp-block-post-content is-layout-constrained">
{marked_up(post, BLOCKS)}
<div class="sharedaddy sd-sharing-enabled"><h3 class="sd-title">Share this:</h3><ul><li>
<a href="#tw">Click to share</a></li></ul></div>
<div id="jp-relatedposts" class="jp-relatedposts"><h3 class="jp-relatedposts-headline">
<em>Related</em></h3><p>{WIDGET}</p></div>
</div>
<div class="wp-block-group"><div class="taxonomy-post_tag wp-block-post-terms">
<a href="/t" rel="tag">harbour</a></div>
<div class="wp-block-comments"><h2>Responses</h2><ol class="wp-block-comment-template">
<li class="comment"><div class="wp-block-comment-content"><p>{COMMENT}</p></div></li></ol>
<form id="commentform"><p>Leave a Reply. Your email address will not be published.</p></form></div>
<nav class="wp-block-group">
<div class="post-navigation-link-previous">Previous: <a href="/p">{OTHERS[0]}</a></div></nav></div>
</main>
<footer class="wp-block-template-part"><p>{SITE}. Proudly powered by WordPress</p></footer>
</div></body></html>"""


def casper(post: Post) -> str:
    """Ghost with its own theme."""
    cards = "".join(
        '<article class="post-card post"><div class="post-card-content">'
        f'<a class="post-card-content-link" href="/{i}/">'
        f'<header class="post-card-header"><h2 class="post-card-title">{name}</h2></header>'
        f'<div class="post-card-excerpt">{WIDGET}</div></a>'
        '<footer class="post-card-meta"><time>1 May 2018</time><span>3 min read</span></footer>'
        "</div></article>"
        for i, name in enumerate(OTHERS)
    )
    body = marked_up(post, MARKDOWN).replace("<br />\n", "<br>")
    return f"""<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">
<title>{html.escape(post.title)}</title><meta property="og:site_name" content="{SITE}">
<meta property="og:type" content="article">
<meta property="og:title" content="{html.escape(post.title)}">
<meta property="article:published_time" content="{post.date}T06:00:00.000Z">
<script type="application/ld+json">{{"@context": "https://schema.org", "@type": "Article",
 "author": {{"@type": "Person", "name": "Jo Quay"}}, "headline": "{html.escape(post.title)}",
 "datePublished": "{post.date}T06:00:00.000Z"}}</script>
<meta name="generator" content="Ghost 5.80"></head>
<body class="post-template tag-notes"><div class="viewport">
<header id="gh-head" class="gh-head outer"><nav class="gh-head-menu"><ul class="nav">
<li class="nav-home"><a href="/">Home</a></li></ul></nav></header>
<div class="site-content"><main id="site-main" class="site-main">
<article class="article post tag-notes no-image">
<header class="article-header gh-canvas"><div class="article-tag post-card-tags">
<a href="/tag/notes/">Notes</a></div>
<h1 class="article-title">{html.escape(post.title)}</h1>
<div class="article-byline"><section class="article-byline-content"><h4 class="author-name">
<a href="/author/jo/">Jo Quay</a></h4>
<div class="byline-meta-content">
<time class="byline-meta-date" datetime="{post.date}">4 Mar</time>
<span class="byline-reading-time">2 min read</span></div></section></div></header>
<section class="gh-content gh-canvas">
{body}
<div class="kg-card kg-signup-card"><h2>Sign up for more</h2><p>No spam, once a month.</p></div>
</section></article>
<section class="article-comments gh-canvas"><h3>Member discussion</h3></section></main>
<section class="footer-cta outer"><h2 class="footer-cta-title">Sign up for more like this.</h2>
</section>
<aside class="read-more-wrap outer"><div class="read-more inner">{cards}</div></aside></div>
<footer class="site-footer outer"><section class="copyright">
<a href="/">{SITE}</a> © 2024</section></footer></div></body></html>"""


def minima(post: Post) -> str:
    """Jekyll with its own theme."""
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<!-- Begin Jekyll SEO tag v2.8.0 -->
<title>{html.escape(post.title)} | {SITE}</title>
<meta name="generator" content="Jekyll v4.3.2" />
<meta property="og:title" content="{html.escape(post.title)}" />
<meta name="author" content="Jo Quay" />
<meta property="article:published_time" content="{post.date}T09:00:00+00:00" />
</head><body><header class="site-header"><div class="wrapper">
<a class="site-title" rel="author" href="/">{SITE}</a>
<nav class="site-nav"><label for="nav-trigger"></label><div class="trigger">
<a class="page-link" href="/about/">About</a></div></nav></div></header>
<main class="page-content" aria-label="Content"><div class="wrapper">
<article class="post h-entry" itemscope itemtype="http://schema.org/BlogPosting">
  <header class="post-header">
<h1 class="post-title p-name" itemprop="name headline">{html.escape(post.title)}</h1>
    <p class="post-meta">
<time class="dt-published" datetime="{post.date}T09:00:00+00:00" itemprop="datePublished">Mar 4,
2019</time>
    • <span itemprop="author"><span class="p-author h-card" itemprop="name">Jo Quay</span></span>
</p></header>
  <div class="post-content e-content" itemprop="articleBody">
    {marked_up(post, KRAMDOWN)}
  </div><div id="disqus_thread"><p>Please enable JavaScript to view the comments.</p></div>
  <a class="u-url" href="/x" hidden></a>
</article></div></main>
<footer class="site-footer h-card"><div class="wrapper"><ul class="contact-list">
<li class="p-name">Jo Quay</li></ul>
<p>{WIDGET}</p></div></footer></body></html>"""


def substack(post: Post) -> str:
    """Substack's page of a post."""
    subscribe = (
        '<div class="subscription-widget-wrap"><div class="subscription-widget show-subscribe">'
        f"<div class='preamble'><p class='cta-caption'>Thanks for reading {SITE}! "
        "Subscribe for free to receive new posts.</p></div>"
        '<form class="subscription-widget-subscribe"><input type="email"></form></div></div>'
    )
    first, *rest = (MARKDOWN[kind](text) for kind, text in post.blocks)
    return f"""<!DOCTYPE html><html lang="en"><head><meta charset="utf-8" />
<title>{html.escape(post.title)} - by Jo Quay - {SITE}</title>
<meta property="og:title" content="{html.escape(post.title)}" />
<script type="application/ld+json">{{"@type": "NewsArticle", "headline":
"{html.escape(post.title)}", "datePublished": "{post.date}T07:00:00+00:00", "author": [{{"@type":
"Person", "name": "Jo Quay"}}]}}</script>
</head><body class=""><div id="entry"><div id="main" class="main typography use-theme-bg">
<div class="topbar"><a href="/">{SITE}</a><button>Subscribe</button><button>Sign in</button></div>
<div class="single-post-container"><div class="container"><div class="single-post">
<article class="typography newsletter-post post">
<div class="post-header"><h1 class="post-title published">{html.escape(post.title)}</h1>
<h3 class="subtitle">A letter</h3>
<div class="byline-wrapper"><a href="/@jo">Jo Quay</a><div>Mar 04, 2019</div></div></div>
<div><div class="available-content"><div dir="auto" class="body markup">
{first}
{subscribe}
{"".join(rest)}
<p class="button-wrapper"><a class="button primary" href="/share"><span>Share</span></a></p>
</div></div></div><div class="post-footer"><a>Like</a></div></article></div></div>
<div class="single-post-section comments-section"><h4>Discussion about this post</h4>
<div class="comment-list"><p>{COMMENT}</p></div></div>
<div class="portable-archive"><a href="/p/1">{OTHERS[1]}</a><div>{WIDGET}</div></div></div></div>
<div class="footer-wrap publication-footer">© 2024 Jo Quay</div></div></body></html>"""


def bare_article(post: Post) -> str:
    """A page by a small program of one's own: an <article> and no classes."""
    return f"""<!doctype html><meta charset=utf-8><title>{html.escape(post.title)}</title>
<nav><a href=/>Home</a> <a href=/all>All posts</a></nav>
<article><h1>{html.escape(post.title)}</h1><time datetime="{post.date}">4 March</time>
{marked_up(post, MARKDOWN)}
<footer>Tags: <a href=/t>harbour</a></footer></article>
<aside><h2>Elsewhere</h2><p>{WIDGET}</p></aside><footer><p>Written by Jo Quay.</p></footer>"""


SEEN: tuple[Callable[[Post], str], ...] = (block_theme, casper, minima, substack, bare_article)
