// Shows one of the loss times. Every number, width and text is in the page's data already; into the
// texts go the times.
window.bpttPicture = window.bpttPicture || (() => {
  const column = (part) => Number(part.closest('.step')?.dataset.column ?? 0)
  const value = (row, key, place) => (row.v[key] ? row.v[key][place] : ['', 0])

  const low = (number) => String(number).replace(/[-\d]/g, (c) => '₋₀₁₂₃₄₅₆₇₈₉'['-0123456789'.indexOf(c)])
  const filled = (text, t, k) => {
    const times = { t: low(t), k: low(k), n: low(k + 1), j: low(k - 1), T: t, K: k }
    return text.replace(/\{([tknjTK])\}/g, (_, letter) => times[letter])
  }

  // Of each part in each column: texts by how far its step is from the loss time, filled in.
  const saidOf = (unfilled, befores, row) => unfilled.map((byLag, part) => row.k.map((k) => {
    const lag = Math.max(-1, Math.min(2, row.t - k))
    return byLag[lag + 1].map(([text, key]) => [filled(text, row.t, k - befores.has(part)), key])
  }))

  const sayOf = (part, row) => row.said[part.dataset.part][column(part)]
    .map(([text, key]) => (row.v[key] ? `${text}: norm ${value(row, key, column(part))[0]}` : text))
    .join('. ')

  const showPart = (part, row) => {
    const place = column(part)
    const earlier = part.classList.contains('before') ? 1 : 0
    const [text, width] = value(row, part.dataset.key, place)
    const told = sayOf(part, row)
    part.dataset.value = text
    part.dataset.step = row.index[place] - earlier
    part.setAttribute('aria-label', told)
    part.querySelector('title').textContent = told
    const low = part.querySelector('.low')
    if (low) low.textContent = row.k[place] - earlier
    const below = part.querySelector('.value')
    if (below) below.textContent = text
    const rim = part.querySelector('.rim')
    if (rim) rim.style.strokeWidth = width
    const name = part.querySelector('.name')
    if (name) name.textContent = row.name[place]
  }

  const showStep = (step, row) => {
    const place = Number(step.dataset.column)
    step.dataset.step = row.index[place]
    step.classList.toggle('later', row.k[place] > row.t)
    const error = step.querySelector('.error')
    error.classList.toggle('absent', row.k[place] !== row.t)
    error.querySelector('.low').textContent = row.t
    error.querySelector('title').textContent = row.error
    error.setAttribute('aria-label', row.error)
    step.querySelectorAll('.flow').forEach((line) => {
      const [text, width] = value(row, line.dataset.key, place)
      line.style.strokeWidth = width
      line.style.visibility = width ? '' : 'hidden'
      line.dataset.value = text
    })
  }

  // Fills a drawing, and lets each of its parts be pointed at or gone to; says what is chosen.
  const live = (svg, say) => {
    const parts = [...svg.querySelectorAll('.part')]
    let row = null
    let chosen = null
    const tell = () => say(chosen && sayOf(chosen, row))
    const choose = (part) => { chosen = part; tell() }
    const move = (event) => {
      const by = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }[event.key]
      const place = parts.indexOf(document.activeElement)
      if (!by || place < 0) return
      event.preventDefault()
      parts[place].tabIndex = -1
      const next = parts[(place + by + parts.length) % parts.length]
      next.tabIndex = 0
      next.focus()
    }
    svg.addEventListener('keydown', move)
    parts.forEach((part) => {
      part.addEventListener('pointerenter', () => choose(part))
      part.addEventListener('focus', () => choose(part))
    })
    if (parts.length) parts[parts.length - 1].tabIndex = 0
    const show = (given) => {
      row = given
      svg.querySelectorAll('.step').forEach((step) => showStep(step, row))
      parts.forEach((part) => showPart(part, row))
      tell()
      const around = svg.parentElement
      const error = svg.querySelector('.error:not(.absent) text')
      if (error) around.scrollLeft = error.getAttribute('x') - around.clientWidth * 0.7
    }
    return { show }
  }

  const figure = (root) => {
    const { rows, said: unfilled } = JSON.parse(
      root.querySelector('script[type="application/json"]').textContent)
    const befores = new Set([...root.querySelectorAll('.unfolded .before')]
      .map((part) => Number(part.dataset.part)))
    const slider = root.querySelector('[data-loss-slider]')
    const said = root.querySelector('[data-said]')
    let row = rows[slider.value]
    const drawing = live(root.querySelector('.unfolded svg'), (text) => {
      said.textContent = text || row.summary
    })
    const show = () => {
      row = rows[slider.value]
      row.said ??= saidOf(unfilled, befores, row)
      root.dataset.lossTime = row.at
      slider.setAttribute('aria-valuetext', row.summary)
      drawing.show(row)
      root.querySelectorAll('[data-shown]').forEach((e) => { e.textContent = row[e.dataset.shown] })
      root.querySelectorAll('tbody tr').forEach((line, place) => {
        line.cells[0].textContent = row.k[place]
        line.cells[1].textContent = row.name[place]
        line.querySelectorAll('[data-key]').forEach((cell) => {
          cell.textContent = value(row, cell.dataset.key, place)[0]
        })
      })
    }
    slider.addEventListener('input', show)
    show()
  }

  return { live, figure }
})()
document.querySelectorAll('.bptt-picture:not([data-ready])').forEach((root) => {
  root.dataset.ready = 'yes'
  window.bpttPicture.figure(root)
})
