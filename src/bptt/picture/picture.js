// Shows one of the loss times. Every number, width and word is in the page's data already.
(() => {
  const fill = (root) => {
    const rows = JSON.parse(root.querySelector('script[type="application/json"]').textContent)
    const slider = root.querySelector('input[type="range"]')
    const svg = root.querySelector('.unfolded svg')
    const said = root.querySelector('[data-said]')
    const parts = [...svg.querySelectorAll('.part')]
    const column = (part) => Number(part.closest('.step')?.dataset.column ?? 0)
    let row = rows[slider.value]
    let chosen = null

    const value = (key, place) => (row.v[key] ? row.v[key][place] : ['', 0])

    const say = () => {
      if (!chosen) { said.textContent = row.summary; return }
      said.textContent = row.say[chosen.dataset.part][column(chosen)]
    }

    const showPart = (part) => {
      const place = column(part)
      const earlier = part.classList.contains('before') ? 1 : 0
      const [text, width] = value(part.dataset.key, place)
      const told = row.say[part.dataset.part][place]
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

    const showStep = (step) => {
      const place = Number(step.dataset.column)
      step.dataset.step = row.index[place]
      step.classList.toggle('later', row.k[place] > row.t)
      const error = step.querySelector('.error')
      error.classList.toggle('absent', row.k[place] !== row.t)
      error.querySelector('.low').textContent = row.t
      error.querySelector('title').textContent = row.error
      error.setAttribute('aria-label', row.error)
      step.querySelectorAll('.flow').forEach((line) => {
        const [text, width] = value(line.dataset.key, place)
        line.style.strokeWidth = width
        line.style.visibility = width ? '' : 'hidden'
        line.dataset.value = text
      })
    }

    const show = () => {
      row = rows[slider.value]
      root.dataset.lossTime = row.at
      slider.setAttribute('aria-valuetext', row.summary)
      svg.querySelectorAll('.step').forEach(showStep)
      parts.forEach(showPart)
      root.querySelectorAll('[data-shown]').forEach((e) => { e.textContent = row[e.dataset.shown] })
      root.querySelectorAll('tbody tr').forEach((line, place) => {
        line.cells[0].textContent = row.k[place]
        ;[...line.cells].slice(1).forEach((cell) => {
          cell.textContent = cell.dataset.key ? value(cell.dataset.key, place)[0] : row.name[place]
        })
      })
      say()
    }

    const choose = (part) => { chosen = part; say() }
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

    slider.addEventListener('input', show)
    svg.addEventListener('keydown', move)
    parts.forEach((part) => {
      part.addEventListener('pointerenter', () => choose(part))
      part.addEventListener('focus', () => choose(part))
    })
    if (parts.length) parts[parts.length - 1].tabIndex = 0
    const scroll = root.querySelector('.unfolded')
    scroll.scrollLeft = scroll.scrollWidth
    show()
  }
  document.querySelectorAll('.bptt-picture:not([data-ready])').forEach((root) => {
    root.dataset.ready = 'yes'
    fill(root)
  })
})()
