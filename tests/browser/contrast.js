/* Texts that stand out too little, with their ratios: WCAG 2.1, AA asks for 4.5 to 1, of large ones
   for 3 to 1. What cannot be operated is exempt there, so it is here. */
() => {
  const colour = (text) => {
    const srgb = text.startsWith('color(srgb')
    const [r, g, b, a = 1] = text.match(/[\d.]+(e-?\d+)?/g).map(Number)
    return srgb ? [255 * r, 255 * g, 255 * b, a] : [r, g, b, a]
  }
  const over = (above, below) => below.map((v, i) => (i < 3 ? above[i] * above[3] + v * (1 - above[3]) : 1))
  const luminance = (c) => [0.2126, 0.7152, 0.0722].reduce((sum, weight, i) => {
    const v = c[i] / 255
    return sum + weight * (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
  }, 0)
  const ratio = (a, b) => {
    const [high, low] = [luminance(a), luminance(b)].sort((p, q) => q - p)
    return (high + 0.05) / (low + 0.05)
  }
  const background = (element) => {
    const layers = []
    for (let e = element; e; e = e.parentElement) layers.push(colour(getComputedStyle(e).backgroundColor))
    return layers.reverse().reduce((below, above) => over(above, below), [255, 255, 255, 1])
  }
  // A part of a drawing has its shape for a background, if that is filled.
  const shape = (element, below) => {
    const drawn = element.closest('.part')?.querySelector('.shape')
    const fill = drawn && getComputedStyle(drawn).fill
    return fill && fill !== 'none' ? over(colour(fill), below) : below
  }
  const poor = []
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT)
  while (walk.nextNode()) {
    const element = walk.currentNode.parentElement
    const text = walk.currentNode.textContent.trim()
    const hidden = !element.checkVisibility({ opacityProperty: true, visibilityProperty: true })
    if (!text || hidden || element.closest('script, style, title, noscript, :disabled, .later')) continue
    const style = getComputedStyle(element)
    const svg = element.closest('svg')
    const inside = !element.classList.contains('value') && !element.classList.contains('name')
    const flat = background(svg ? svg.parentElement : element)
    const below = svg && inside ? shape(element, flat) : flat
    const found = ratio(over(colour(svg ? style.fill : style.color), below), below)
    const size = parseFloat(style.fontSize)
    const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700)
    if (found < (large ? 3 : 4.5)) poor.push(`${found.toFixed(2)} ${element.tagName} ${element.className.baseVal ?? element.className}: ${text.slice(0, 40)}`)
  }
  return [...new Set(poor)]
}
