"""Pages as the programs that make blogs lay them out: their elements and classes, own words."""

import html
from collections.abc import Callable

from web_posts import (
    AUTOP,
    BLOCKS,
    BLOGGER,
    BREAKS,
    GOLDMARK,
    KRAMDOWN,
    MARKDOWN,
    OLD,
    Post,
    marked_up,
)

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


def classic_theme(post: Post) -> str:
    """WordPress with a theme of templates, like Twenty Seventeen."""
    return f"""<!DOCTYPE html>
<html lang="en-US" class="no-js no-svg"><head><meta charset="UTF-8">
<title>{html.escape(post.title)} &#8211; {SITE}</title>
<meta name="generator" content="WordPress 4.9">
</head><body class="post-template-default single single-post single-format-standard has-sidebar">
<div id="page" class="site"><a class="skip-link screen-reader-text" href="#content">Skip</a>
<header id="masthead" class="site-header" role="banner"><div class="site-branding-text">
<p class="site-title"><a href="/" rel="home">{SITE}</a></p>
<p class="site-description">Just another harbour</p></div>
<div class="navigation-top"><nav id="site-navigation" class="main-navigation" role="navigation">
<ul id="top-menu" class="menu"><li class="menu-item"><a href="/about">About</a></li></ul></nav>
</div>
</header><div class="site-content-contain"><div id="content" class="site-content"><div class="wrap">
<div id="primary" class="content-area"><main id="main" class="site-main" role="main">
<article id="post-7" class="post-7 post type-post status-publish hentry category-notes tag-share">
<header class="entry-header"><div class="entry-meta"><span class="posted-on">
<span class="screen-reader-text">Posted on</span> <a href="/7" rel="bookmark">
<time class="entry-date published" datetime="{post.date}T10:11:12+00:00">March 4</time></a></span>
<span class="byline"> by <span class="author vcard"><a class="url fn n" href="/j">Jo</a></span>
</span>
</div><h1 class="entry-title">{html.escape(post.title)}</h1></header>
<div class="entry-content">
{marked_up(post, AUTOP)}
<div class="addtoany_share_save_container"><div class="addtoany_header">Share this</div></div>
<div class='yarpp yarpp-related'><h3>Related posts:</h3><ol><li><a href="/1">{OTHERS[0]}</a></li>
</ol></div></div>
<footer class="entry-footer"><span class="cat-tags-links"><span class="cat-links">Categories
<a href="/c" rel="category tag">Notes</a></span></span></footer></article>
<div id="comments" class="comments-area"><h2 class="comments-title">2 Replies</h2>
<ol class="comment-list"><li class="comment"><article class="comment-body"><footer
class="comment-meta"><b class="fn">Ada</b> says:</footer><div class="comment-content">
<p>{COMMENT}</p></div></article></li></ol><div id="respond" class="comment-respond">
<h3 class="comment-reply-title">Leave a Reply</h3></div></div>
<nav class="navigation post-navigation"><div class="nav-links"><div class="nav-previous">
<a href="/6" rel="prev"><span class="nav-title">{OTHERS[1]}</span></a></div></div></nav>
</main></div><aside id="secondary" class="widget-area" role="complementary">
<section class="widget widget_text"><h2 class="widget-title">About</h2><p>{WIDGET}</p></section>
</aside></div></div><footer class="site-footer" role="contentinfo"><p>Proudly powered</p></footer>
</div></div></body></html>"""


def papermod(post: Post) -> str:
    """Hugo with PaperMod, the most used of its themes."""
    return f"""<!DOCTYPE html><html lang="en" dir="auto"><head><meta charset="utf-8">
<title>{html.escape(post.title)} | {SITE}</title><meta name="generator" content="Hugo 0.125.4">
<meta property="og:title" content="{html.escape(post.title)}" />
<meta name="author" content="Jo Quay"></head><body class="dark" id="top">
<header class="header"><nav class="nav"><div class="logo"><a href="/">{SITE}</a></div>
<ul id="menu"><li><a href="/archives/"><span>Archives</span></a></li></ul></nav></header>
<main class="main"><article class="post-single"><header class="post-header">
<div class="breadcrumbs"><a href="/">Home</a>&nbsp;»&nbsp;<a href="/posts/">Posts</a></div>
<h1 class="post-title entry-hint-parent">{html.escape(post.title)}</h1>
<div class="post-description">Something about it.</div>
<div class="post-meta"><span title='{post.date} 00:00:00 +0000 UTC'>March 4, 2019</span>
&nbsp;·&nbsp;2 min&nbsp;·&nbsp;Jo Quay</div></header>
<div class="toc"><details><summary accesskey="c"><span class="details">Table of Contents</span>
</summary><div class="inner"><ul><li><a href="#tools">Tools</a></li></ul></div></details></div>
<div class="post-content">{marked_up(post, GOLDMARK)}</div>
<footer class="post-footer"><ul class="post-tags"><li><a href="/tags/x/">harbour</a></li></ul>
<nav class="paginav"><a class="prev" href="/p"><span class="title">« Prev</span><br>
<span>{OTHERS[2]}</span></a></nav><ul class="share-buttons"><li><a>share on x</a></li></ul></footer>
</article></main><footer class="footer"><span>&copy; 2024 <a href="/">{SITE}</a></span>
<span>Powered by Hugo &amp; PaperMod</span></footer></body></html>"""


def _blogger(post: Post, body: str) -> str:
    return f"""<!DOCTYPE html><html dir='ltr'><head>
<meta content='text/html; charset=UTF-8' http-equiv='Content-Type'/>
<meta content='blogger' name='generator'/><title>{SITE}: {html.escape(post.title)}</title>
<meta content='{html.escape(post.title)}' property='og:title'/></head>
<body class='loading variant-dark'><div class='navbar section' id='navbar'></div>
<div class='body-fauxcolumns'></div><div class='content'><div class='content-outer'>
<header><div class='header section' id='header'><div class='widget Header' id='Header1'>
<h1 class='title'><a href='/'>{SITE}</a></h1></div></div></header>
<div class='main-outer'><div class='column-center-inner'><div class='main section' id='main'>
<div class='widget Blog' id='Blog1'><div class='blog-posts hfeed'><div class="date-outer">
<h2 class='date-header'><span>Monday, 4 March 2019</span></h2><div class="date-posts">
<div class='post-outer'><div class='post hentry uncustomized-post-template' itemscope='itemscope'>
<a name='7'></a><h3 class='post-title entry-title' itemprop='name'>{html.escape(post.title)}</h3>
<div class='post-header'><div class='post-header-line-1'></div></div>
<div class='post-body entry-content' id='post-body-7' itemprop='description articleBody'>
{body}
<div style='clear: both;'></div></div>
<div class='post-footer'><div class='post-footer-line post-footer-line-1'>
<span class='post-author vcard'>Posted by <span class='fn' itemprop='author'>Jo</span></span>
<span class='post-timestamp'>at <a class='timestamp-link' rel='bookmark'><abbr class='published'
itemprop='datePublished' title='{post.date}T09:15:00-08:00'>09:15</abbr></a></span>
<div class='post-share-buttons goog-inline-block'><a>Email This</a></div></div>
<div class='post-footer-line-2'><span class='post-labels'>Labels: <a rel='tag'>sea</a></span></div>
</div></div><div class='comments' id='comments'><h4>1 comment:</h4><div class='comment-block'>
<p class='comment-content'>{COMMENT}</p></div></div></div></div></div></div>
<div class='blog-pager' id='blog-pager'><a class='blog-pager-older-link'>Older Post</a></div>
</div></div></div><div class='column-right-outer'><aside><div class='sidebar section'>
<div class='widget PopularPosts'><h2>Popular Posts</h2><div class='item-snippet'>{WIDGET}</div>
</div>
<div class='widget BlogArchive'><ul><li><a>March (2)</a></li></ul></div></div></aside></div></div>
<footer><div class='footer section'>Powered by Blogger.</div></footer></div></div></body></html>"""


def blogger(post: Post) -> str:
    """Blogger's page of a post, as its editor of today writes them."""
    return _blogger(post, marked_up(post, BLOGGER))


def old_blogger(post: Post) -> str:
    """The same with the line breaks of its early years."""
    return _blogger(post, marked_up(post, BREAKS))


def eleventy(post: Post) -> str:
    """Eleventy's blog to begin with: no class names the text."""
    return f"""<!doctype html><html lang="en"><head><meta charset="utf-8">
<title>{html.escape(post.title)}</title><meta name="generator" content="Eleventy v3.0.0">
<meta name="date" content="{post.date}"></head><body>
<a href="#skip" id="skip-link" class="visually-hidden">Skip to main content</a>
<header><a href="/" class="home-link">{SITE}</a><nav><h2 class="visually-hidden">Top level</h2>
<ul class="nav"><li class="nav-item"><a href="/blog/">Archive</a></li></ul></nav></header>
<main id="skip"><heading-anchors><h1>{html.escape(post.title)}</h1>
<ul class="post-metadata"><li><time datetime="{post.date}">04 March 2019</time></li>
<li><a href="/tags/x/" class="post-tag">harbour</a></li></ul>
{marked_up(post, MARKDOWN)}
<ul class="links-nextprev"><li class="links-nextprev-prev">← Previous<br>
<a href="/1/">{OTHERS[0]}</a></li></ul></heading-anchors></main>
<footer><p><em>Built with Eleventy</em></p></footer></body></html>"""


def by_hand(post: Post) -> str:
    """A page of the nineties: tables for the layout, nothing else."""
    links = "".join(f"<A HREF={i}.htm>{name}</A><BR>" for i, name in enumerate(OTHERS))
    return f"""<HTML><HEAD><TITLE>{html.escape(post.title)}</TITLE>
<META NAME="date" CONTENT="{post.date}"></HEAD>
<BODY BGCOLOR=white><TABLE WIDTH=100%><TR><TD WIDTH=120 VALIGN=top>{links}</TD>
<TD VALIGN=top><H1>{html.escape(post.title)}</H1>
{marked_up(post, OLD)}
</TD></TR></TABLE><HR><CENTER><A HREF=index.htm>Back</A> <A HREF=mailto:x>Mail</A></CENTER>
</BODY></HTML>"""


HELD_OUT: tuple[Callable[[Post], str], ...] = (
    *(classic_theme, papermod, blogger, old_blogger, eleventy, by_hand),
)
